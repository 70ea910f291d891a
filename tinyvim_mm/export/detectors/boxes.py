"""Boxes in exported graphs: decoded, clipped, suppressed; in tensors of fixed shapes.

Boxes are corners ``x1, y1, x2, y2`` in pixels of the network's input, float32. A row without a
candidate has the score :data:`NONE`, since a graph that drops rows has shapes that depend on the
picture.
"""

import math
from typing import Any, Mapping, Tuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms as torchvision_nms

from ...core.errors import UsageError

#: Score of a row that holds no candidate.
NONE = -1.0
# Scores above it are of candidates: they are 0 or more.
_LEAST = -0.5

_NMS_SETTINGS = {'type', 'iou_threshold', 'class_agnostic', 'split_thr'}


def decode(coder: Any, priors: Tensor, predicted: Tensor, sizes: Tensor) -> Tensor:
    """Boxes from what a head predicts, as mmdet's coders have it.

    Args:
        coder: ``DeltaXYWHBBoxCoder`` or ``DistancePointBBoxCoder``.
        priors: Anchors ``(batch, n, 4)``, or points ``(batch, n, 2)``.
        predicted: ``(batch, n, 4)``
        sizes: Height and width that boxes are clipped to, ``(batch, 2)``, float32.

    Returns:
        ``(batch, n, 4)``
    """
    if type(coder).__name__ == 'DistancePointBBoxCoder':
        corners = torch.cat([priors - predicted[..., :2], priors + predicted[..., 2:]], -1)
    else:
        means, stds = predicted.new_tensor(coder.means), predicted.new_tensor(coder.stds)
        shift, log_scale = (predicted * stds + means).split(2, -1)
        size = priors[..., 2:] - priors[..., :2]
        shift = size * shift
        most = abs(math.log(16 / 1000))  # a default that mmdet's heads leave as it is
        if coder.add_ctr_clamp:
            shift = shift.clamp(-coder.ctr_clamp, coder.ctr_clamp)
            log_scale = log_scale.clamp(max=most)
        else:
            log_scale = log_scale.clamp(-most, most)
        center = (priors[..., :2] + priors[..., 2:]) * 0.5 + shift
        half = size * log_scale.exp() * 0.5
        corners = torch.cat([center - half, center + half], -1)
    if not coder.clip_border:
        return corners
    return torch.minimum(corners.clamp(min=0), sizes.flip(-1).repeat(1, 2).unsqueeze(1))


def drop_small(boxes: Tensor, scores: Tensor, least: float) -> Tensor:
    """Scores without those of boxes that are not wider and higher than ``least`` pixels.

    A negative ``least`` drops none.
    """
    if least < 0:
        return scores
    wide, high = boxes[..., 2] - boxes[..., 0] > least, boxes[..., 3] - boxes[..., 1] > least
    return torch.where(wide & high, scores, NONE)


def apart(boxes: Tensor, scores: Tensor, groups: Tensor) -> Tensor:
    """Boxes moved so far that those of different groups do not overlap.

    The same numbers as in mmcv's ``batched_nms``, in which moved boxes are rounded.

    Args:
        boxes: ``(batch, n, 4)``
        scores: ``(batch, n)``; where they are :data:`NONE` a box does not count.
        groups: ``(batch, n)``, integers from 0.
    """
    largest = torch.where(is_found(scores).unsqueeze(-1), boxes, 0.0).amax((1, 2))
    return boxes + (groups.to(boxes) * (largest + 1).unsqueeze(1)).unsqueeze(-1)


def suppress(boxes: Tensor, scores: Tensor, settings: Mapping[str, Any], limit: int) -> Tensor:
    """Scores ``(batch, n)`` of the boxes that non-maximum suppression keeps.

    The others have :data:`NONE`.

    Args:
        boxes: ``(batch, n, 4)``
        scores: ``(batch, n)``
        settings: mmdet's ``nms``, see :func:`check_settings`.
        limit: Most boxes to keep of a row of the batch.
    """
    selected = _Suppression.apply(
        boxes, scores, float(np.float32(settings['iou_threshold'])), limit
    )
    place = (selected[:, 0], selected[:, 2])
    kept = torch.zeros_like(scores).index_put(place, torch.ones_like(place[0]).to(scores))
    return torch.where(kept > 0.5, scores, NONE)


def best(scores: Tensor, limit: int) -> Tuple[Tensor, Tensor]:
    """The ``limit`` largest scores, ``(batch, limit)``, and where they are.

    Rows that have fewer candidates are filled up with :data:`NONE` at place 0.
    """
    values, places = torch.cat([scores, fill(scores, limit)], 1).topk(limit, 1)
    return values, torch.where(is_found(values), places, 0)


def is_found(scores: Tensor) -> Tensor:
    """Where scores are those of candidates."""
    return scores > _LEAST


def fill(scores: Tensor, count: int) -> Tensor:
    """``(batch, count)`` of :data:`NONE`, the batch that of ``scores``."""
    return scores.new_full((scores.shape[0], count), NONE)


def take(values: Tensor, places: Tensor) -> Tensor:
    """The rows ``(batch, k)`` of ``(batch, n, channels)``, as ``(batch, k, channels)``."""
    return values.gather(1, places.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def finish(scores: Tensor, labels: Tensor, boxes: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels as a file gives them: rows without a detection are 0, 0 and -1."""
    found = is_found(scores)
    return (
        torch.where(found.unsqueeze(-1), boxes, 0.0),
        torch.where(found, scores, 0.0),
        torch.where(found, labels, -1),
    )


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Raise a :class:`UsageError` unless suppression is of the kind that ONNX has."""
    nms = settings.get('nms')
    if not nms or nms.get('type', 'nms') != 'nms' or set(nms) - _NMS_SETTINGS:
        raise UsageError(
            f"{where}.nms is {dict(nms or {})}; ONNX has type='nms' with an iou_threshold only. "
            'Set that with --cfg-options, or export with --part neck'
        )


class _Suppression(torch.autograd.Function):
    """ONNX's ``NonMaxSuppression`` of one class: ``(k, 3)``, row of the batch, class 0, box."""

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, scores: Tensor, threshold: float, limit: int) -> Tensor:
        found = []
        for row, (own, of_row) in enumerate(zip(boxes, scores, strict=True)):
            candidates = (of_row > _LEAST).nonzero().squeeze(1)
            kept = torchvision_nms(own[candidates], of_row[candidates], threshold)[:limit]
            places = candidates[kept]
            zeros = torch.zeros_like(places)
            found.append(torch.stack([zeros + row, zeros, places], 1))
        return torch.cat(found)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, threshold: float, limit: int) -> Any:
        def constant(value: Any, kind: torch.dtype) -> Any:
            return g.op('Constant', value_t=torch.tensor([value], dtype=kind))

        return g.op(
            'NonMaxSuppression',
            boxes,
            g.op('Unsqueeze', scores, constant(1, torch.int64)),
            constant(limit, torch.int64),
            constant(threshold, torch.float32),
            constant(_LEAST, torch.float32),
        )
