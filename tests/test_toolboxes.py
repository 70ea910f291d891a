"""The backbone inside mmdet, mmseg and mmpretrain, all three really installed."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

TINY = {'embed_dims': [8, 12, 16, 20], 'depths': [1, 1, 1, 1]}
BACKBONE = {'type': 'tinyvim_mm.TinyViM', 'arch': TINY}
SIZES = [(33, 47), (200, 250), (224, 224), (800, 1333)]


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain', 'mmengine'])
def test_backbone_builds_from_every_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(dict(BACKBONE))
    assert type(model).__module__ == 'tinyvim_mm.models.backbones.tinyvim'


@pytest.mark.parametrize('toolbox', ['mmdet', 'mmseg', 'mmpretrain'])
def test_backbone_builds_from_every_toolboxes_registry(toolbox):
    registry = __import__(f'{toolbox}.registry', fromlist=['MODELS']).MODELS
    assert len(registry.build(dict(BACKBONE))(torch.randn(1, 3, 64, 64))) == 4


@pytest.mark.parametrize('size', SIZES)
def test_fpn_accepts_every_size(size):
    from mmdet.models.necks import FPN

    backbone = MODELS.build(dict(BACKBONE))
    neck = FPN(TINY['embed_dims'], 8, num_outs=5)
    pyramid = neck(backbone(torch.randn(1, 3, *size)))
    assert len(pyramid) == 5
    sum(level.mean() for level in pyramid).backward()
    assert all(p.grad is not None for p in backbone.parameters())


@pytest.mark.parametrize('size', SIZES)
def test_mask_rcnn_accepts_every_size(size):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.config import Config
    from mmengine.structures import InstanceData

    model = mask_rcnn(Config)
    height, width = size
    instances = InstanceData(
        bboxes=torch.tensor([[2.0, 3.0, 28.0, 30.0]]),
        labels=torch.tensor([1]),
        masks=BitmapMasks(torch.ones(1, height, width, dtype=torch.uint8).numpy(), height, width),
    )
    meta = {'img_shape': size, 'ori_shape': size, 'scale_factor': (1.0, 1.0), 'img_id': 0}
    sample = DetDataSample(gt_instances=instances, metainfo=meta)
    images = [torch.randint(0, 255, (3, *size), dtype=torch.uint8)]

    data = model.data_preprocessor({'inputs': images, 'data_samples': [sample]}, True)
    losses = model.train()(**data, mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert loss.isfinite()

    data = model.data_preprocessor({'inputs': images, 'data_samples': [sample]}, False)
    with torch.no_grad():
        result = model.eval()(**data, mode='predict')
    assert result[0].pred_instances.masks.shape[-2:] == size


def mask_rcnn(config_class):
    """mmdet's own Mask R-CNN, made small, without padding to multiples of 32."""
    cfg = config_class.fromfile(toolbox_config('mmdet', '_base_/models/mask-rcnn_r50_fpn.py'))
    cfg.model.backbone = dict(BACKBONE)
    cfg.model.neck.update(in_channels=TINY['embed_dims'], out_channels=16)
    cfg.model.data_preprocessor.pad_size_divisor = 1
    cfg.model.rpn_head.update(in_channels=16, feat_channels=16)
    roi_head = cfg.model.roi_head
    roi_head.bbox_roi_extractor.out_channels = roi_head.mask_roi_extractor.out_channels = 16
    roi_head.bbox_head.update(in_channels=16, fc_out_channels=32)
    roi_head.mask_head.update(in_channels=16, conv_out_channels=16, num_convs=1)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg.model)


def toolbox_config(package, relative):
    from importlib import import_module
    from pathlib import Path

    return str(Path(import_module(package).__file__).parent / '.mim' / 'configs' / relative)


def test_segmentor_builds_and_trains():
    with DefaultScope.overwrite_default_scope('mmseg'):
        import mmseg.models  # noqa: F401 - registers

        model = MODELS.build(
            {
                'type': 'EncoderDecoder',
                'backbone': dict(BACKBONE),
                'neck': {
                    'type': 'FPN',
                    'in_channels': TINY['embed_dims'],
                    'out_channels': 8,
                    'num_outs': 4,
                },
                'decode_head': {
                    'type': 'FPNHead',
                    'in_channels': [8] * 4,
                    'in_index': [0, 1, 2, 3],
                    'feature_strides': [4, 8, 16, 32],
                    'channels': 8,
                    'num_classes': 5,
                },
            }
        )
    assert model(torch.randn(2, 3, 64, 96), mode='tensor').shape == (2, 5, 16, 24)


def test_classifier_builds_and_trains():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(
            {
                'type': 'ImageClassifier',
                'backbone': {**BACKBONE, 'out_indices': (3,)},
                'neck': {'type': 'GlobalAveragePooling'},
                'head': {'type': 'LinearClsHead', 'num_classes': 7, 'in_channels': 20},
            }
        )
    assert model(torch.randn(2, 3, 64, 64), mode='tensor').shape == (2, 7)


def test_config_may_inherit_from_mmseg():
    from mmengine.config import Config

    text = "_base_ = 'mmseg::_base_/schedules/schedule_40k.py'"
    assert Config.fromstring(text, '.py').train_cfg.max_iters == 40000
