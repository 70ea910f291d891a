"""Small detectors of each family, with weights that make detections, and what mmdet predicts."""

import numpy as np
import tiny_export as tiny
import torch
from PIL import Image

from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.recipes.configs import load_config

CONFIGS = PROJECT_ROOT / 'configs' / 'mmdet'
PHOTOS = sorted((PROJECT_ROOT / 'data' / 'sample' / 'coco' / 'val2017').glob('*.jpg'))
FAMILIES = ('mask_rcnn', 'faster_rcnn', 'cascade', 'retinanet', 'ssd', 'fcos', 'rtmdet_ins')
CLASSES = 5


def config(family):
    """A config of the project with a tiny backbone and narrow heads."""
    cfg = {
        'mask_rcnn': _rcnn,
        'faster_rcnn': _faster_rcnn,
        'cascade': _cascade,
        'retinanet': _retinanet,
        'ssd': _ssd,
        'fcos': _fcos,
        'rtmdet_ins': _rtmdet_ins,
    }[family]()
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (192, 160)
        if step.type == 'Pad':
            step.size = (192, 160)
    return cfg


def _load(name):
    cfg = load_config(CONFIGS / f'{name}.py')
    cfg.model.backbone.arch = dict(tiny.ARCH)
    cfg.model.backbone.init_cfg = None
    return cfg


def _narrow(neck, channels, inputs):
    neck.update(in_channels=inputs, out_channels=channels)


def _rcnn(name='mask_rcnn_tinyvim_s_1x_coco'):
    cfg = _load(name)
    model = cfg.model
    _narrow(model.neck, 16, [8, 8, 16, 24])
    model.rpn_head.update(in_channels=16, feat_channels=16)
    head = model.roi_head
    head.bbox_roi_extractor.out_channels = 16
    heads = head.bbox_head if isinstance(head.bbox_head, list) else [head.bbox_head]
    for box_head in heads:
        box_head.update(in_channels=16, fc_out_channels=32, num_classes=CLASSES)
    head.mask_roi_extractor.out_channels = 16
    head.mask_head.update(in_channels=16, conv_out_channels=16, num_convs=2, num_classes=CLASSES)
    model.test_cfg.rpn.update(nms_pre=60, max_per_img=40)
    model.test_cfg.rcnn.update(max_per_img=20)
    return cfg


def _faster_rcnn():
    cfg = _rcnn()
    cfg.model.type = 'FasterRCNN'
    for key in ('mask_roi_extractor', 'mask_head'):
        cfg.model.roi_head.pop(key)
    return cfg


def _cascade():
    return _rcnn('cascade_mask_rcnn_tinyvim_b_1x_coco')


def _retinanet():
    cfg = _load('retinanet_tinyvim_b_1x_coco')
    _narrow(cfg.model.neck, 16, [8, 16, 24])
    cfg.model.bbox_head.update(
        in_channels=16, feat_channels=16, stacked_convs=1, num_classes=CLASSES
    )
    cfg.model.test_cfg.update(nms_pre=60, max_per_img=30)
    return cfg


def _fcos():
    cfg = _retinanet()
    cfg.model.type = 'FCOS'
    cfg.model.bbox_head = dict(
        type='FCOSHead',
        num_classes=CLASSES,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        strides=[8, 16, 32, 64, 128],
        norm_on_bbox=True,
        norm_cfg=dict(type='BN'),
        centerness_on_reg=True,
    )
    return cfg


def _ssd():
    cfg = _load('ssdlite_mobilemamba_b1_120e_coco')
    model = cfg.model
    model.backbone = dict(
        type='tinyvim_mm.TinyViM', arch=dict(tiny.ARCH), out_indices=(2, 3), init_cfg=None
    )
    channels = (16, 24, 16, 16, 16, 16)
    model.neck.update(in_channels=channels[:2], out_channels=channels)
    model.bbox_head.update(in_channels=channels, num_classes=CLASSES)
    model.test_cfg.update(nms_pre=60, max_per_img=30)
    return cfg


def _rtmdet_ins():
    cfg = _load('rtmdet_ins_tinyvim_b_300e_coco')
    cfg.model.neck.update(in_channels=[8, 16, 24], out_channels=16, num_csp_blocks=1)
    cfg.model.bbox_head.update(
        in_channels=16, feat_channels=16, stacked_convs=1, num_classes=CLASSES
    )
    cfg.model.test_cfg.update(nms_pre=60, max_per_img=20)
    return cfg


def build(family):
    """The detector, each of whose heads finds something."""
    from mmengine.registry import MODELS, init_default_scope

    from tinyvim_mm.core import compat

    compat.apply()
    cfg = config(family)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    tiny.randomize(model)
    liven(model)
    return model


#: Last layers, and how far what they give shall spread.
SPREADS = {
    'rpn_cls': 2.0,
    'rpn_reg': 0.3,
    'fc_cls': 2.0,
    'fc_reg': 1.0,
    'retina_cls': 1.5,
    'retina_reg': 0.3,
    'cls_convs': 2.0,
    'reg_convs': 1.0,
    'conv_cls': 1.5,
    'conv_reg': 1.0,
    'rtm_cls': 1.5,
    'rtm_reg': 3.0,
    'rtm_kernel': 1.0,
}


def liven(model):
    """Let scores be neither all 0 nor all 1, and boxes stay near their anchors."""
    layers = {}
    for name, layer in model.named_modules():
        parts = name.split('.')
        key = next((p for p in reversed(parts) if p in SPREADS), None)
        # Of a layer for each level the tower is left as it is.
        if key and hasattr(layer, 'weight') and ('convs' not in key or parts[-1].isdigit()):
            layers[layer] = SPREADS[key]

    def scale(layer, _, output):
        factor = layers.pop(layer, None)
        if factor is None:
            return output
        factor /= output.std()
        layer.weight.mul_(factor)
        if layer.bias is not None:
            layer.bias.mul_(factor)
        return output * factor

    hooks = [layer.register_forward_hook(scale) for layer in layers]
    photo = Image.open(PHOTOS[0]).convert('RGB').resize((192, 160))
    images = (torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() - 116) / 57
    with torch.no_grad():
        predict(model, images, [(160, 192)], [(160, 192)], [(1.0, 1.0)])
    for hook in hooks:
        hook.remove()


def predict(model, inputs, sizes, shapes, factors):
    """mmdet's predictions: for each image boxes, scores, labels and masks or ``None``."""
    from mmdet.structures import DetDataSample

    samples = []
    for size, shape, factor in zip(sizes, shapes, factors, strict=True):
        sample = DetDataSample()
        meta = dict(img_shape=size, ori_shape=shape, scale_factor=factor)
        sample.set_metainfo({**meta, 'batch_input_shape': tuple(inputs.shape[2:])})
        samples.append(sample)
    with torch.no_grad():
        found = model.predict(inputs, samples, rescale=True)
    return [unpack(sample) for sample in found]


def unpack(sample):
    found = sample.pred_instances
    masks = np.asarray(found.masks) if 'masks' in found else None
    return found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy(), masks
