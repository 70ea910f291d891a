"""Losses, gradients and predictions of three small detectors of mmdet.

As a script like ``operator_cases.py``; ``recorded/detectors.npz`` was written so, with mmcv
compiled for a CPU. Weights and images are drawn by numpy, so that they do not depend on torch.
"""

import contextlib
import sys
import zlib
from unittest import mock

import numpy as np
import torch

_SIZE = 96

DETECTORS = {
    'mask_rcnn': 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'retinanet': 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    'deformable_detr': 'mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
}


def config_of(name):
    """The toolbox's config, with ResNet-18 without pretrained weights."""
    from mmengine.config import Config

    text = f"_base_ = '{DETECTORS[name]}'\n"
    model = Config.fromstring(text, file_format='.py').model
    # BatchNorm as it is at test time; numbers of a batch of two say little.
    model.backbone.update(depth=18, init_cfg=None, norm_eval=True)
    widths = [64, 128, 256, 512]
    model.neck.in_channels = widths[1:] if name == 'deformable_detr' else widths
    if name == 'deformable_detr':
        model.num_queries = 30
        model.encoder.num_layers = model.decoder.num_layers = 2
    else:
        model.test_cfg.get('rcnn', model.test_cfg).score_thr = 0.0
    return model


def fill(model):
    """Weights that depend on names and shapes only."""
    for key, value in model.state_dict().items():
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        if key.endswith('running_var') or (value.dim() == 1 and key.endswith('weight')):
            array = rng.uniform(0.7, 1.0, value.shape)
        elif value.dim() < 2:
            array = 0.02 * rng.standard_normal(value.shape)
        else:
            fan_in = max(value[0].numel(), 1)
            array = rng.standard_normal(value.shape) * fan_in**-0.5
        value.copy_(torch.from_numpy(np.asarray(array)).to(value))


def samples():
    """Two images, each with three objects, as mmdet takes them."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    rng = np.random.default_rng(7)
    inputs, data_samples = [], []
    for _ in range(2):
        image = rng.integers(0, 255, (3, _SIZE // 8, _SIZE // 8)).repeat(8, 1).repeat(8, 2)
        corner = rng.uniform(0, _SIZE / 2, (3, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(12, _SIZE / 2, (3, 2))], 1)
        masks = np.zeros((3, _SIZE, _SIZE), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample = DetDataSample()
        shape = (_SIZE, _SIZE)
        sample.set_metainfo(
            dict(img_shape=shape, ori_shape=shape, batch_input_shape=shape, scale_factor=(1, 1))
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.from_numpy(boxes.astype(np.float32)),
            labels=torch.from_numpy(rng.integers(0, 80, 3)),
            masks=BitmapMasks(masks, _SIZE, _SIZE),
        )
        inputs.append(torch.from_numpy(image.astype(np.uint8)))
        data_samples.append(sample)
    return dict(inputs=inputs, data_samples=data_samples)


def outcome(name):
    """``{part: array}``: losses; norms of gradients; boxes, scores, labels and sizes of masks."""
    from mmdet.registry import MODELS

    model = MODELS.build(config_of(name))
    fill(model)
    model.train()
    torch.manual_seed(0)  # the sampling of proposals
    losses = model(**model.data_preprocessor(samples(), True), mode='loss')
    total, named = model.parse_losses(losses)
    total.backward()
    found = {f'loss/{key}': np.asarray(value.detach()) for key, value in named.items()}
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[f'gradient/{key}'] = np.asarray(parameter.grad.norm())
    model.eval()
    with torch.no_grad():
        predicted = model(**model.data_preprocessor(samples(), False), mode='predict')
    for i, sample in enumerate(predicted):
        instances = sample.pred_instances[:20]
        for key in ('bboxes', 'scores', 'labels'):
            found[f'prediction/{i}_{key}'] = np.asarray(instances[key])
        if 'masks' in instances:
            found[f'prediction/{i}_masks'] = np.asarray(instances.masks.sum((1, 2)))
    return found


@contextlib.contextmanager
def as_on_a_gpu():
    """Let mmdet call the focal loss and the attention that it calls on GPUs only."""
    from mmcv.ops import multi_scale_deform_attn as attention
    from mmdet.models.losses import focal_loss

    in_pytorch = attention.multi_scale_deformable_attn_pytorch

    def attend(value, shapes, locations, weights):
        if not torch.is_tensor(shapes):  # called by the stand-in
            return in_pytorch(value, shapes, locations, weights)
        starts = torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])
        operator = attention.MultiScaleDeformableAttnFunction
        return operator.apply(value, shapes, starts, locations, weights, 64)

    def loss(pred, one_hot, *arguments, **options):
        target = torch.where(one_hot.any(1), one_hot.long().argmax(1), pred.shape[1])
        return focal_loss.sigmoid_focal_loss(pred, target, *arguments, **options)

    with (
        mock.patch.object(attention, 'multi_scale_deformable_attn_pytorch', attend),
        mock.patch.object(focal_loss, 'py_sigmoid_focal_loss', loss),
    ):
        yield


def results():
    """``{'detector/part': array}`` of all detectors."""
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    parts = ((name, outcome(name)) for name in DETECTORS)
    return {f'{name}/{key}': value for name, found in parts for key, value in found.items()}


if __name__ == '__main__':
    from operator_cases import load_operators  # beside this file

    load_operators()
    with as_on_a_gpu() if 'gpu' in sys.argv[2:] else contextlib.nullcontext():
        np.savez_compressed(sys.argv[1], **results())
