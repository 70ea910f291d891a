"""Configs of mmdet and mmseg, but for MobileMamba's: their recipes, and one small step each."""

from collections import namedtuple

import pytest
from torch import nn

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from recipe_cases import (
    SIZE,
    build,
    gradients_of_a_step,
    load,
    picture,
    prediction,
    sample_of,
    spared,
    transform,
    transforms,
)

from tinyvim_mm.models.catalogue import BACKBONES
from tinyvim_mm.recipes.configs import list_configs

# Learning rate and weight decay of AdamW, and images on each of 8 devices; then, where it is not
# TinyViM: the beginning of the backbone's name, arguments that it is given, iterations of warm-up,
# and what of a parameter's name spares it weight decay.
Recipe = namedtuple(
    'Recipe',
    'arch model schedule lr weight_decay images family options warm_up spared',
    defaults=('tinyvim', {}, 500, ('A_logs', 'Ds')),
)


def vmamba_recipe(family, arch, drop_path, *numbers, warm_up=1000):
    """A recipe of Swin, as VMamba and EfficientVMamba take it."""
    return Recipe(arch, *numbers, family, {'drop_path_rate': drop_path}, warm_up, ('norm',))


RECIPES = {
    # COCO, as published.
    'mask_rcnn_tinyvim_s_1x_coco': Recipe('s', 'MaskRCNN', '1x', 2e-4, 0.05, 2),
    'mask_rcnn_tinyvim_b_1x_coco': Recipe('b', 'MaskRCNN', '1x', 2e-4, 0.05, 2),
    'mask_rcnn_tinyvim_l_1x_coco': Recipe('l', 'MaskRCNN', '1x', 2e-4, 0.05, 2),
    # COCO, without published results.
    'retinanet_tinyvim_b_1x_coco': Recipe('b', 'RetinaNet', '1x', 1e-4, 0.05, 2),
    'cascade_mask_rcnn_tinyvim_b_1x_coco': Recipe('b', 'CascadeRCNN', '1x', 2e-4, 0.05, 2),
    'rtmdet_ins_tinyvim_b_300e_coco': Recipe('b', 'RTMDet', '300e', 4e-3, 0.05, 32),
    # ADE20K, as published.
    'fpn_tinyvim_s_40k_ade20k': Recipe('s', 'EncoderDecoder', '40k', 2e-4, 1e-4, 4),
    'fpn_tinyvim_b_40k_ade20k': Recipe('b', 'EncoderDecoder', '40k', 2e-4, 1e-4, 4),
    'fpn_tinyvim_l_40k_ade20k': Recipe('l', 'EncoderDecoder', '40k', 2e-4, 1e-4, 4),
    # COCO and ADE20K, as published for other backbones.
    'mask_rcnn_vmamba_t_1x_coco': vmamba_recipe(
        'vmamba', 't', 0.2, 'MaskRCNN', '1x', 1e-4, 0.05, 2
    ),
    'mask_rcnn_efficientvmamba_s_1x_coco': vmamba_recipe(
        'efficientvmamba', 's', 0.1, 'MaskRCNN', '1x', 1e-4, 0.05, 2
    ),
    'mask_rcnn_efficientvmamba_b_1x_coco': vmamba_recipe(
        'efficientvmamba', 'b', 0.1, 'MaskRCNN', '1x', 1e-4, 0.05, 2
    ),
    'upernet_vmamba_t_160k_ade20k': vmamba_recipe(
        'vmamba', 't', 0.2, 'EncoderDecoder', '160k', 6e-5, 0.01, 2
    ),
    # ADE20K, without a published result.
    'upernet_tinyvim_b_160k_ade20k': Recipe('b', 'EncoderDecoder', '160k', 6e-5, 0.01, 2),
}
MMDET = [name for name in RECIPES if name.endswith('coco')]
MMSEG = [name for name in RECIPES if name.endswith('ade20k')]
all_recipes = pytest.mark.parametrize('name', RECIPES)


# ----------------------------------------------------------------------------
# What the configs say
# ----------------------------------------------------------------------------


def test_every_config_has_a_recipe():
    found = {p.stem for p in list_configs() if p.parent.name in ('mmdet', 'mmseg')}
    assert {name for name in found if '_mobilemamba_' not in name} == set(RECIPES)


@all_recipes
def test_optimizer_and_batch(name):
    cfg, recipe = load(name), RECIPES[name]
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    assert cfg.train_dataloader.batch_size == recipe.images
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=8 * recipe.images)


@all_recipes
def test_network(name):
    cfg, recipe = load(name), RECIPES[name]
    backbone = cfg.model.backbone
    assert cfg.model.type == recipe.model
    network = f'{recipe.family}_{recipe.arch}'
    assert f'_{network}_{recipe.schedule}' in name
    assert backbone.init_cfg == dict(
        type='Pretrained', checkpoint=f'checkpoints/{network}_300e.pth'
    )
    cls = BACKBONES[recipe.family]
    assert {k: v for k, v in backbone.items() if k not in ('init_cfg', 'out_indices')} == dict(
        type=f'tinyvim_mm.{cls.__name__}', arch=recipe.arch, **recipe.options
    )
    widths = list(cls.arch_settings[recipe.arch].embed_dims)
    if name.startswith('upernet'):
        assert cfg.model.decode_head.in_channels == widths
        assert cfg.model.auxiliary_head.in_channels == widths[2]
        return
    used = backbone.get('out_indices', (0, 1, 2, 3))
    assert cfg.model.neck.in_channels == [widths[index] for index in used]
    if not name.startswith('rtmdet'):
        assert cfg.model.neck.type == 'FPN'
        assert cfg.model.neck.out_channels == 256
        assert cfg.model.neck.num_outs == (5 if name in MMDET else 4)


@all_recipes
def test_images_are_normalized_as_the_pretrained_weights_expect(name):
    preprocessor = load(name).model.data_preprocessor
    assert preprocessor.mean == [123.675, 116.28, 103.53]
    assert preprocessor.std == [58.395, 57.12, 57.375]
    assert preprocessor.bgr_to_rgb is True


@pytest.mark.parametrize('name', [n for n in MMDET if RECIPES[n].schedule == '1x'])
def test_1x_schedule_on_coco(name):
    cfg = load(name)
    assert (cfg.train_cfg.type, cfg.train_cfg.max_epochs) == ('EpochBasedTrainLoop', 12)
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.type, warm_up.end, warm_up.by_epoch) == (
        'LinearLR',
        RECIPES[name].warm_up,
        False,
    )
    assert (steps.type, steps.milestones, steps.gamma) == ('MultiStepLR', [8, 11], 0.1)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        resize = transform(loader, 'Resize')
        assert (resize.scale, resize.keep_ratio) == ((1333, 800), True)
        assert loader.dataset.type == 'CocoDataset'
    assert transform(cfg.train_dataloader, 'RandomFlip').prob == 0.5


def test_300_epochs_of_rtmdet():
    cfg = load('rtmdet_ins_tinyvim_b_300e_coco')
    assert cfg.train_cfg.max_epochs == 300
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.type, warm_up.end) == ('LinearLR', 1000)
    assert (cosine.type, cosine.begin, cosine.end) == ('CosineAnnealingLR', 150, 300)
    assert cosine.eta_min == pytest.approx(2e-4)
    assert transform(cfg.train_dataloader, 'RandomCrop').crop_size == (640, 640)
    assert transform(cfg.test_dataloader, 'Resize').scale == (640, 640)
    assert [hook.type for hook in cfg.custom_hooks] == ['EMAHook', 'PipelineSwitchHook']


@pytest.mark.parametrize('name', MMSEG)
def test_data_of_ade20k(name):
    cfg = load(name)
    train = cfg.train_dataloader
    resize = transform(train, 'RandomResize')
    assert (resize.scale, resize.ratio_range, resize.keep_ratio) == ((2048, 512), (0.5, 2.0), True)
    assert transform(train, 'RandomCrop').crop_size == (512, 512)
    assert cfg.model.data_preprocessor.size == (512, 512)
    assert transform(train, 'RandomFlip').prob == 0.5
    assert transforms(train, 'PhotoMetricDistortion')
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        resize = transform(loader, 'Resize')
        assert (resize.scale, resize.keep_ratio) == ((2048, 512), True)
        kinds = [step.type for step in loader.dataset.pipeline]
        # The ground truth keeps the size of the photograph.
        assert kinds.index('LoadAnnotations') > kinds.index('Resize')
        if RECIPES[name].family == 'vmamba':
            continue  # published without alignment
        assert transform(loader, 'ResizeToMultiple').size_divisor == 32
        assert kinds.index('LoadAnnotations') > kinds.index('ResizeToMultiple')
    for loader in (train, cfg.val_dataloader, cfg.test_dataloader):
        assert transform(loader, 'LoadAnnotations').reduce_zero_label is True
        assert loader.dataset.type == 'ADE20KDataset'
    assert cfg.model.decode_head.num_classes == 150
    assert cfg.model.get('auxiliary_head', {'num_classes': 150})['num_classes'] == 150
    assert cfg.model.pretrained is None
    assert cfg.sync_bn == 'torch'


@pytest.mark.parametrize('name', [n for n in MMSEG if n.startswith('fpn')])
def test_40k_schedule_on_ade20k(name):
    cfg = load(name)
    assert (cfg.train_cfg.type, cfg.train_cfg.max_iters) == ('IterBasedTrainLoop', 40000)
    (poly,) = cfg.param_scheduler
    assert poly == dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=0, end=40000, by_epoch=False)


@pytest.mark.parametrize('name', [n for n in MMSEG if n.startswith('upernet')])
def test_160k_schedule_on_ade20k(name):
    cfg = load(name)
    assert cfg.train_cfg.max_iters == 160000
    warm_up, poly = cfg.param_scheduler
    assert (warm_up.type, warm_up.start_factor, warm_up.end) == ('LinearLR', 1e-6, 1500)
    assert (poly.type, poly.power, poly.begin, poly.end) == ('PolyLR', 1.0, 1500, 160000)
    assert not warm_up.by_epoch
    assert not poly.by_epoch


# ----------------------------------------------------------------------------
# What is built from them
# ----------------------------------------------------------------------------


#: Of those that differ in the size of the backbone alone, the quick tests build one.
SIBLINGS = {
    'mask_rcnn_tinyvim_s_1x_coco',
    'mask_rcnn_tinyvim_l_1x_coco',
    'mask_rcnn_efficientvmamba_b_1x_coco',
    'fpn_tinyvim_s_40k_ade20k',
    'fpn_tinyvim_l_40k_ade20k',
}


@pytest.fixture(
    scope='module',
    params=[pytest.param(n, marks=pytest.mark.slow) if n in SIBLINGS else n for n in RECIPES],
)
def built(request):
    """Name, config and network; one network is alive at a time."""
    return request.param, *build(request.param)


def test_weight_decay_spares_what_the_recipe_says(built):
    name, cfg, model = built
    free, groups = spared(cfg, model)
    parts = RECIPES[name].spared
    scan = {key for key, _ in model.named_parameters() if any(part in key for part in parts)}
    assert scan
    if parts == ('A_logs', 'Ds'):
        assert len(scan) == 10  # two for each of the five mixers
    if name.startswith('rtmdet'):
        norms = {
            f'{key}.{part}'
            for key, module in model.named_modules()
            if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm))
            for part in ('weight', 'bias')
        }
        biases = {key for key, _ in model.named_parameters() if key.endswith('.bias')}
        assert free == (scan | norms | biases) & set(dict(model.named_parameters()))
    else:
        assert free == scan
    decays = {group['weight_decay'] for group in groups}
    assert {decay for decay in decays if decay} == {RECIPES[name].weight_decay}
    assert {group['lr'] for group in groups} == {RECIPES[name].lr}


def test_one_step_forward_and_backward(built):
    name, _, model = built
    grads = gradients_of_a_step(name, model)
    assert sum(bool(grad.abs().sum() > 0) for grad in grads) > 0.9 * len(grads)


def test_prediction_has_the_size_of_the_photograph(built):
    name, _, model = built
    found = prediction(model, picture(), sample_of(name))
    if name in MMSEG:
        assert found.pred_sem_seg.data.shape == (1, SIZE, SIZE)
        assert found.seg_logits.data.shape == (150, SIZE, SIZE)
        return
    assert found.pred_instances.bboxes.shape[1] == 4
    assert ('masks' in found.pred_instances) == (not name.startswith('retinanet'))
    if 'masks' in found.pred_instances:
        assert found.pred_instances.masks.shape[1:] == (SIZE, SIZE)
