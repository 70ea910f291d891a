"""Which module computes the detections of which detector of mmdet."""

from typing import Any, Callable, Tuple

from torch import nn

from ...core.errors import UsageError
from .dense import SingleStage
from .rtmdet_ins import RTMDetIns, mask_stride
from .two_stage import TwoStage

_CURE = 'Export its backbone and neck with --part neck'
_CODERS = ('DeltaXYWHBBoxCoder', 'DistancePointBBoxCoder')


def detections_of(model: nn.Module, dynamic_size: bool) -> nn.Module:
    """What computes the detections of a detector from the features of its neck.

    Args:
        model: A detector of mmdet.
        dynamic_size: Whether a graph made of it has to work for other sizes of images.

    Returns:
        A module that takes feature maps and sizes ``(batch, 2)``.

    Raises:
        UsageError: The detector has parts that compute something else.
    """
    from mmdet.models.dense_heads import RTMDetInsHead
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.detectors import SingleStageDetector, TwoStageDetector

    if _same(model, TwoStageDetector, 'predict', 'extract_feat'):
        _check_two_stage(model)
        return TwoStage(model, dynamic_size)
    _check(model, SingleStageDetector, 'predict', 'extract_feat')
    head = model.bbox_head
    _check_coder(head)
    if _same(head, RTMDetInsHead, '_predict_by_feat_single', '_bbox_mask_post_process'):
        _check(head, RTMDetInsHead, 'predict_by_feat', '_mask_predict_by_feat_single')
        return RTMDetIns(head, dynamic_size)
    names = ('predict', 'predict_by_feat', '_predict_by_feat_single', '_bbox_post_process')
    _check(head, BaseDenseHead, *names)
    return SingleStage(head, dynamic_size)


def masks_of(model: nn.Module) -> Tuple[str, int, float]:
    """How the masks of a detector lie, see :class:`..metadata.Metadata`.

    Returns:
        ``'box'``, ``'image'`` or ``''`` without masks; their stride, 1 over boxes; and the
        probability from which a pixel belongs to an object.
    """
    if hasattr(model, 'roi_head'):
        if not model.roi_head.with_mask:
            return '', 1, 0.5
        return 'box', 1, float(model.roi_head.test_cfg['mask_thr_binary'])
    if hasattr(model.bbox_head, 'mask_head'):
        threshold = float(model.bbox_head.test_cfg['mask_thr_binary'])
        return 'image', mask_stride(model.bbox_head), threshold
    return '', 1, 0.5


def _check_two_stage(model: nn.Module) -> None:
    from mmdet.models.dense_heads import RPNHead
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
    from mmdet.models.roi_heads.bbox_heads import BBoxHead
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    rpn, roi_head = model.rpn_head, model.roi_head
    _check(rpn, RPNHead, '_predict_by_feat_single', '_bbox_post_process')
    _check(rpn, BaseDenseHead, 'predict', 'predict_by_feat')
    _check_coder(rpn)
    if type(roi_head) not in (StandardRoIHead, CascadeRoIHead) or roi_head.with_shared_head:
        raise _unknown(roi_head)
    for head in _each(roi_head.bbox_head):
        _check(head, BBoxHead, 'predict_by_feat', '_predict_by_feat_single', 'regress_by_class')
        _check_coder(head)
        if not head.with_reg or not head.with_cls:
            raise _unknown(head)
    extractors = [*_each(roi_head.bbox_roi_extractor)]
    if roi_head.with_mask:
        extractors += _each(roi_head.mask_roi_extractor)
        for head in _each(roi_head.mask_head):
            _check(head, FCNMaskHead, 'forward', 'predict_by_feat', '_predict_by_feat_single')
    for extractor in extractors:
        _check(extractor, SingleRoIExtractor, 'forward', 'map_roi_levels')
        layer = extractor.roi_layers[0]
        if type(layer).__name__ != 'RoIAlign' or getattr(layer, 'pool_mode', 'avg') != 'avg':
            raise _unknown(layer)


def _check_coder(head: nn.Module) -> None:
    if type(head.bbox_coder).__name__ not in _CODERS:
        raise _unknown(head.bbox_coder)
    if getattr(getattr(head, 'loss_cls', None), 'custom_cls_channels', False):
        raise _unknown(head.loss_cls)


def _each(part: Any) -> Tuple[nn.Module, ...]:
    return tuple(part) if isinstance(part, nn.ModuleList) else (part,)


def _check(part: nn.Module, base: type, *names: str) -> None:
    if not _same(part, base, *names):
        raise _unknown(part)


def _same(part: nn.Module, base: type, *names: str) -> bool:
    """Whether a part does what ``base`` does: not a subclass with a method of its own."""
    own: Callable[[str], Any] = lambda name: getattr(type(part), name, None)  # noqa: E731
    return isinstance(part, base) and all(own(name) is getattr(base, name) for name in names)


def _unknown(part: Any) -> UsageError:
    return UsageError(
        f'the detector has a {type(part).__name__}, of which no whole detector can be exported. '
        f'{_CURE}'
    )
