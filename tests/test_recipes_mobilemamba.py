"""MobileMamba's configs of mmdet and mmseg: the numbers of its recipes, its neck, and a step."""

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

import torch
from recipe_cases import (
    SIZE,
    build,
    gradients_of_a_step,
    load,
    picture,
    prediction,
    sample_of,
    segmentation_sample,
    spared,
    transform,
)

from tinyvim_mm.models import UpsamplingFPN

WIDTHS = [200, 376, 448]
# Type of the model, learning rate, images on each of 8 devices, and pretrained weights.
RECIPES = {
    'mask_rcnn_mobilemamba_b1_1x_coco': ('MaskRCNN', 2e-4, 2, 'b1'),
    'retinanet_mobilemamba_b1_1x_coco': ('RetinaNet', 2e-4, 2, 'b1'),
    'ssdlite_mobilemamba_b1_120e_coco': ('SingleStageDetector', 2.4e-3, 24, 'b1'),
    'ssdlite512_mobilemamba_b1_120e_coco': ('SingleStageDetector', 2.4e-3, 24, 'b1'),
    'fpn_mobilemamba_b4_160k_ade20k': ('EncoderDecoder', 1.2e-4, 4, 'b4'),
    'deeplabv3_mobilemamba_b4_80k_ade20k': ('EncoderDecoder', 1.2e-4, 4, 'b4'),
    'pspnet_mobilemamba_b4_80k_ade20k': ('EncoderDecoder', 1.2e-4, 4, 'b4'),
}
DETECTORS = [name for name in RECIPES if name.endswith('coco')]
SEGMENTORS = [name for name in RECIPES if name.endswith('ade20k')]
# Side of the images that SSDLite is trained and tested with.
SSDLITE = {'ssdlite_mobilemamba_b1_120e_coco': 320, 'ssdlite512_mobilemamba_b1_120e_coco': 512}
all_recipes = pytest.mark.parametrize('name', RECIPES)


@all_recipes
def test_the_recipe_is_the_published_one(name):
    cfg, (kind, lr, images, arch) = load(name), RECIPES[name]
    assert cfg.model.type == kind
    assert cfg.model.backbone.type == 'tinyvim_mm.MobileMamba'
    assert cfg.model.backbone.arch == arch
    assert cfg.model.backbone.drop_path_rate == 0.03
    checkpoint = f'checkpoints/mobilemamba_{arch}_300e.pth'
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=checkpoint)
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=lr, weight_decay=0.05)
    assert cfg.train_dataloader.batch_size == images
    assert cfg.auto_scale_lr.base_batch_size == 8 * images
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.type, cosine.type, cosine.eta_min) == ('LinearLR', 'CosineAnnealingLR', 0)
    if name in DETECTORS:
        assert cfg.optim_wrapper.clip_grad == dict(max_norm=0.1)
        assert cfg.model.backbone.norm_eval is True
        assert (warm_up.end, warm_up.by_epoch) == (500, False)
        epochs = 120 if name in SSDLITE else 12
        assert cfg.train_cfg.max_epochs == cosine.end == epochs == 2 * cosine.begin
        if name not in SSDLITE:
            assert transform(cfg.test_dataloader, 'Resize').scale == (1333, 800)
        assert cosine.convert_to_iter_based
    else:
        steps = 160000 if name.startswith('fpn') else 80000
        assert cfg.optim_wrapper.get('clip_grad') == (
            None if name.startswith('fpn') else dict(max_norm=0.1)
        )
        assert warm_up.end == (1500 if name.startswith('fpn') else 500)
        assert not warm_up.by_epoch
        assert cfg.train_cfg.max_iters == cosine.end == steps == 2 * cosine.begin
        assert not cosine.by_epoch


@pytest.mark.parametrize('name', SEGMENTORS)
def test_data_of_ade20k(name):
    cfg = load(name)
    assert transform(cfg.train_dataloader, 'RandomCrop').crop_size == (512, 512)
    assert cfg.model.data_preprocessor.size == (512, 512)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        resize = transform(loader, 'Resize')
        assert (resize.scale, resize.keep_ratio) == ((2048, 512), True)
        kinds = [step.type for step in loader.dataset.pipeline]
        assert 'ResizeToMultiple' not in kinds  # none is published
        # The ground truth keeps the size of the photograph.
        assert kinds.index('LoadAnnotations') > kinds.index('Resize')
    assert cfg.sync_bn == 'torch'


def test_semantic_fpn_is_the_published_one():
    head = load('fpn_mobilemamba_b4_160k_ade20k').model.decode_head
    assert head.feature_strides == [16, 32, 64]
    assert (head.channels, head.dropout_ratio, head.num_classes) == (128, 0.1, 150)


@pytest.mark.parametrize(
    ('name', 'kind', 'grids'),
    [
        ('deeplabv3_mobilemamba_b4_80k_ade20k', 'ASPPHead', {'dilations': (1, 12, 24, 36)}),
        ('pspnet_mobilemamba_b4_80k_ade20k', 'PSPHead', {'pool_scales': (1, 2, 3, 6)}),
    ],
)
def test_deeplabv3_and_pspnet_are_the_published_ones(name, kind, grids):
    model = load(name).model
    head, auxiliary = model.decode_head, model.auxiliary_head
    assert head.type == kind
    assert {key: tuple(head[key]) for key in grids} == grids
    assert (head.in_index, head.in_channels, head.channels) == (2, WIDTHS[2], 256)
    assert (auxiliary.type, auxiliary.in_index, auxiliary.in_channels) == ('FCNHead', 1, WIDTHS[1])
    assert auxiliary.loss_decode.loss_weight == 0.4
    assert head.loss_decode.loss_weight == 1
    assert head.num_classes == auxiliary.num_classes == 150


@pytest.mark.parametrize('name', SSDLITE)
def test_ssdlite_is_the_published_one(name):
    model = load(name).model
    assert model.backbone.out_indices == (0, 1)
    assert tuple(model.neck.out_channels) == (200, 376, 512, 256, 256, 128)
    assert model.neck.norm_cfg == dict(type='BN', eps=0.001, momentum=0.03)
    anchors = model.bbox_head.anchor_generator
    assert anchors.strides == [16, 32, 64, 107, 160, 320]
    assert [*anchors.min_sizes, anchors.max_sizes[-1]] == [48, 100, 150, 202, 253, 304, 320]
    dataset = load(name).train_dataloader.dataset
    assert (dataset.type, dataset.times) == ('RepeatDataset', 5)


def test_the_ssdlites_differ_in_the_size_of_the_images_alone():
    small, large = (load(name).to_dict() for name in SSDLITE)
    sizes = []
    for cfg in (small, large):
        found = set()
        pipelines = [cfg['train_dataloader']['dataset']['dataset']['pipeline']]
        pipelines += [cfg[f'{part}_dataloader']['dataset']['pipeline'] for part in ('val', 'test')]
        for pipeline in pipelines:
            (resize,) = (step for step in pipeline if step['type'] == 'Resize')
            assert resize['keep_ratio'] is False
            found.add(resize.pop('scale'))
        sizes.append(found)
    assert sizes == [{(side, side)} for side in SSDLITE.values()]
    for part in ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'custom_hooks'):
        assert small[part] == large[part]
    for part in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert small[part] == large[part]


@pytest.fixture(scope='module', params=RECIPES)
def built(request):
    """Name, config and network; one network is alive at a time."""
    return request.param, *build(request.param)


def test_weight_decay_spares_the_norm_of_the_scan_only(built):
    recipe, cfg, model = built
    free, groups = spared(cfg, model)
    names = {id(p): name for name, p in model.named_parameters()}
    assert free == {name for name in names.values() if '.out_norm.' in name}
    assert len(free) >= 10
    rates = {names[id(p)]: g['lr'] for g in groups for p in g['params']}
    lr = cfg.optim_wrapper.optimizer.lr
    faster = 'decode_head' if recipe.startswith('fpn') else ()
    for name, rate in rates.items():
        assert rate == pytest.approx(lr * (10 if name.startswith(faster) else 1)), name


def test_a_step_and_a_prediction(built):
    name, _, model = built
    gradients_of_a_step(name, model)
    found = prediction(model, picture(), sample_of(name))
    if name in DETECTORS:
        assert found.pred_instances.bboxes.shape[1] == 4
    else:
        assert found.pred_sem_seg.data.shape == (1, SIZE, SIZE)


def test_segmentors_take_sides_as_they_come(built):
    name, _, model = built
    if name in DETECTORS:
        return
    height, width = 70, 101
    sample = segmentation_sample()
    sample.set_metainfo(dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape'), (height, width)))
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    assert prediction(model, image, sample).pred_sem_seg.data.shape == (1, height, width)


# -- the neck ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('levels', 'parameters', 'strides'),
    [((2, 0), 3_738_112, (4, 8, 16, 32, 64)), ((1, 1), 3_918_080, (8, 16, 32, 64, 128))],
    ids=['Mask R-CNN', 'RetinaNet'],
)
def test_the_neck_has_the_published_size_and_strides(levels, parameters, strides):
    with torch.device('meta'):
        neck = UpsamplingFPN(WIDTHS, 256, *levels)
        sizes = [(16, 24), (8, 12), (4, 6)]  # of an image of 256x384
        maps = neck([torch.zeros(1, c, *s) for c, s in zip(WIDTHS, sizes, strict=True)])
    assert sum(p.numel() for p in neck.parameters()) == parameters
    assert [tuple(m.shape[-2:]) for m in maps] == [(256 // s, 384 // s) for s in strides]


def test_finer_levels_start_from_the_sum():
    neck = UpsamplingFPN([2, 2], 2, finer_levels=1).requires_grad_(False)
    fine, coarse = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2)
    lateral, lower = neck.laterals[0](fine), neck.laterals[1](coarse)
    total = lateral + lower.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = neck.outputs[0](neck.upsamplings[0](total))
    torch.testing.assert_close(neck([fine, coarse])[0], expected)


def test_the_neck_names_what_is_wrong():
    with pytest.raises(ValueError, match='finer_levels=-1'):
        UpsamplingFPN([2], finer_levels=-1)
    with pytest.raises(ValueError, match='built for 2 maps and got 1'):
        UpsamplingFPN([2, 2])([torch.zeros(1, 2, 4, 4)])
