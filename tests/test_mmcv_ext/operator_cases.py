"""Operators of mmcv on small inputs: values and gradients.

As a script it writes them into a file, with the form of the operators that the process uses:
``TINYVIM_MMCV_OPS=compiled python tests/test_mmcv_ext/operator_cases.py FILE.npz [SEED]``. So
``recorded/operators.npz`` was written (seed 0), with mmcv compiled for a CPU.
"""

import importlib
import os
import sys

import numpy as np
import torch


def tensors(rng, *shapes):
    """Standard-normal float32 tensors that ask for gradients."""
    arrays = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return [torch.from_numpy(array).requires_grad_() for array in arrays]


def boxes_of(rng, count, size=60.0):
    """Corners that overlap often, and distinct scores."""
    corner, extent = rng.uniform(0, size * 0.7, (count, 2)), rng.uniform(1, size * 0.4, (count, 2))
    boxes = np.concatenate([corner, corner + extent], 1).astype(np.float32)
    scores = rng.permutation(count).astype(np.float32) / count + 0.01
    return torch.from_numpy(boxes), torch.from_numpy(scores.astype(np.float32))


def rois_of(rng, count, images=2, size=60.0):
    boxes, _ = boxes_of(rng, count, size)
    index = torch.from_numpy(rng.integers(0, images, (count, 1)).astype(np.float32))
    return torch.cat([index, boxes], 1)


def with_gradients(rng, output, leaves):
    """The output, and its gradients for a random cotangent."""
    (cotangent,) = tensors(rng, output.shape)
    output.backward(cotangent.detach())
    return {'value': output.detach(), **{f'grad_{i}': leaf.grad for i, leaf in enumerate(leaves)}}


def nms(rng, **options):
    from mmcv import ops

    dets, kept = ops.nms(*boxes_of(rng, 80), iou_threshold=0.3, **options)
    return {'value': dets, 'kept': kept}


def batched_nms(rng, **options):
    from mmcv import ops

    labels = torch.from_numpy(rng.integers(0, 3, 80))
    cfg = dict(type='nms', iou_threshold=0.4, **options)
    dets, kept = ops.batched_nms(*boxes_of(rng, 80), labels, cfg)
    return {'value': dets, 'kept': kept}


def soft_nms(rng, **options):
    from mmcv import ops

    boxes, scores = boxes_of(rng, 80)
    scores[40:60] = scores[:20]  # ties, which the order decides
    dets, kept = ops.soft_nms(boxes, scores, iou_threshold=0.3, **options)
    return {'value': dets, 'kept': kept}


def nms_match(rng):
    from mmcv import ops

    boxes, scores = boxes_of(rng, 60)
    groups = ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.3)
    sizes = torch.tensor([len(group) for group in groups])
    return {'value': torch.cat(list(groups)).float(), 'sizes': sizes}


def bbox_overlaps(rng, **options):
    from mmcv import ops

    pair = boxes_of(rng, 12)[0], boxes_of(rng, 12)[0]
    return {'value': ops.bbox_overlaps(*pair, **options)}


def roi_align(rng, **options):
    from mmcv import ops

    (features,) = tensors(rng, (2, 4, 16, 14))
    output = ops.roi_align(features, rois_of(rng, 7), (3, 2), 0.25, *options.values())
    return with_gradients(rng, output, [features])


def deform_conv(rng, groups=1, deform_groups=1, stride=1, padding=1, dilation=1):
    from mmcv import ops

    extent = (9 + 2 * padding - 2 * dilation - 1) // stride + 1
    shapes = ((2, 4, 9, 9), (2, 18 * deform_groups, extent, extent), (6, 4 // groups, 3, 3))
    leaves = tensors(rng, *shapes)
    sizes = (stride, padding, dilation, groups, deform_groups)
    return with_gradients(rng, ops.deform_conv2d(*leaves, *sizes), leaves)


def frozen_deform_conv(rng):
    """The gradient of the weights alone."""
    from mmcv import ops

    features, offset, weight = tensors(rng, (2, 4, 9, 9), (2, 18, 9, 9), (6, 4, 3, 3))
    output = ops.deform_conv2d(features.detach(), offset.detach(), weight, 1, 1)
    return with_gradients(rng, output, [weight])


def modulated_deform_conv(rng, groups=1, deform_groups=1, stride=1, bias=True):
    from mmcv import ops

    extent = (9 - 1) // stride + 1
    shapes = [(2, 4, 9, 9), (2, 18 * deform_groups, extent, extent)]
    shapes += [(2, 9 * deform_groups, extent, extent), (6, 4 // groups, 3, 3)]
    leaves = tensors(rng, *shapes, *([(6,)] if bias else []))
    given = leaves if bias else [*leaves, None]
    output = ops.modulated_deform_conv2d(*given, stride, 1, 1, groups, deform_groups)
    return with_gradients(rng, output, leaves)


def psa_mask(rng, kind):
    from mmcv import ops

    (mask,) = tensors(rng, (2, 35, 4, 5))
    return with_gradients(rng, ops.PSAMask(kind, (5, 7))(mask), [mask])


CASES = {
    'nms': nms,
    'nms, offset 1': lambda rng: nms(rng, offset=1),
    'nms, score threshold': lambda rng: nms(rng, score_threshold=0.4, max_num=9),
    'batched_nms': batched_nms,
    'batched_nms, by class': lambda rng: batched_nms(rng, split_thr=10),
    'soft_nms, linear': lambda rng: soft_nms(rng, method='linear', min_score=0.1),
    'soft_nms, gaussian': lambda rng: soft_nms(rng, method='gaussian', min_score=0.05),
    'soft_nms, naive': lambda rng: soft_nms(rng, method='naive', min_score=1e-3),
    'soft_nms, offset 1': lambda rng: soft_nms(rng, method='linear', min_score=0.1, offset=1),
    'nms_match': nms_match,
    'bbox_overlaps': bbox_overlaps,
    'bbox_overlaps, aligned': lambda rng: bbox_overlaps(rng, aligned=True, offset=1),
    'bbox_overlaps, iof': lambda rng: bbox_overlaps(rng, mode='iof'),
    'roi_align': lambda rng: roi_align(rng, sampling_ratio=0, mode='avg', aligned=True),
    'roi_align, 2 samples': lambda rng: roi_align(rng, sampling_ratio=2, mode='avg', aligned=True),
    'roi_align, not aligned': lambda rng: roi_align(rng, ratio=0, mode='avg', aligned=False),
    'deform_conv': deform_conv,
    'deform_conv, groups': lambda rng: deform_conv(rng, groups=2, deform_groups=2, stride=2),
    'deform_conv, dilated': lambda rng: deform_conv(rng, padding=2, dilation=2),
    'deform_conv, frozen input': frozen_deform_conv,
    'modulated_deform_conv': modulated_deform_conv,
    'modulated_deform_conv, groups': lambda rng: modulated_deform_conv(rng, 2, 2, stride=2),
    'modulated_deform_conv, no bias': lambda rng: modulated_deform_conv(rng, bias=False),
    'psa_mask, collect': lambda rng: psa_mask(rng, 'collect'),
    'psa_mask, distribute': lambda rng: psa_mask(rng, 'distribute'),
}


def results(seed=0):
    """``{'case/name': array}`` of all cases."""
    found = {}
    for name, case in CASES.items():
        for part, value in case(np.random.default_rng(seed)).items():
            found[f'{name}/{part}'] = np.asarray(value)
    return found


def load_operators():
    """Load ``mmcv._ext`` in the form that the variable asks for; as ``import tinyvim_mm`` does."""
    from tinyvim_mm import mmcv_ext
    from tinyvim_mm.core import compat, mmcv_operators

    compat.apply()
    if mmcv_operators.stands_in():
        sys.modules.setdefault('mmcv._ext', mmcv_ext.module())
    form = type(importlib.import_module('mmcv._ext')).__name__
    wanted = os.environ[mmcv_operators.VARIABLE]
    assert (form == '_Operators') == (wanted == mmcv_operators.TORCHVISION), (form, wanted)


if __name__ == '__main__':
    load_operators()
    np.savez_compressed(sys.argv[1], **results(int(sys.argv[2]) if sys.argv[2:] else 0))
