"""Boxes: which to keep of those that overlap."""

from typing import List

import numpy as np
import torch
from torchvision.ops import nms as torchvision_nms

from .precision import widened

__all__ = ['bbox_overlaps', 'nms', 'nms_match', 'softnms']


def nms(
    boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int
) -> torch.Tensor:
    """Indices of the boxes that remain, best first.

    Args:
        boxes: (N, 4), corners ``x1, y1, x2, y2``.
        scores: (N,)
        iou_threshold: A box is dropped if its IoU with a better one is larger.
        offset: 0, or 1 if width is ``x2 - x1 + 1``.

    Returns:
        (M,), int64.
    """
    boxes = widened(boxes)
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    # mmcv compares with the threshold in float32.
    return torchvision_nms(boxes, widened(scores).to(boxes), float(np.float32(iou_threshold)))


def softnms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    dets: torch.Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> torch.Tensor:
    """Lower the scores of boxes that overlap with a better one, and drop low ones.

    Args:
        boxes: (N, 4), on the CPU.
        scores: (N,), on the CPU.
        dets: (N, 5), filled with the M remaining boxes and their new scores, best first.
        iou_threshold: Naive and linear decay: the IoU from which a score decays.
        sigma: Width of the Gaussian decay.
        min_score: Boxes whose score falls below it are dropped.
        method: 0 naive (to zero), 1 linear, 2 Gaussian.
        offset: As in :func:`nms`.

    Returns:
        (M,), int64, the indices of the remaining boxes.
    """
    corners = boxes.detach().float().numpy()
    current = scores.detach().float().numpy().copy()
    areas = _areas(corners, offset)
    order = np.arange(len(corners))
    kept = 0
    while kept < len(order):
        # Where scores are equal the order decides; so it is changed as mmcv changes it.
        best = kept + int(np.argmax(current[order[kept:]]))
        order[[kept, best]] = order[[best, kept]]
        first, others = order[kept], order[kept + 1 :]
        kept += 1
        iou = _iou(corners, areas, first, others, offset)
        if method == 2:
            current[others] *= np.exp(-(iou * iou) / np.float32(sigma))
        else:
            decayed = 1 - iou if method == 1 else np.float32(0)
            current[others] *= np.where(iou >= np.float32(iou_threshold), decayed, np.float32(1))
        order = _without(order, kept, current[others] < np.float32(min_score))
    remaining = torch.from_numpy(order)
    dets[: len(order), :4] = boxes[remaining]
    dets[: len(order), 4] = torch.from_numpy(current[order]).to(dets)
    return remaining


def _without(order: np.ndarray, start: int, dropped: np.ndarray) -> np.ndarray:
    """Fill the place of each dropped index from the end, as far as there is something."""
    end = len(order)
    for hole in start + np.flatnonzero(dropped):
        while end > hole and dropped[end - 1 - start]:
            end -= 1
        if end <= hole:
            break
        order[hole] = order[end - 1]
        end -= 1
    return order[:end]


def nms_match(dets: torch.Tensor, iou_threshold: float) -> List[List[int]]:
    """Groups of boxes: one that remains, then those that it drops, by descending score.

    Args:
        dets: (N, 5), corners and score, on the CPU.
        iou_threshold: A box is dropped if its IoU with a better one is not smaller.
    """
    corners = dets[:, :4].detach().float().numpy()
    areas = _areas(corners, 0)
    order = dets[:, 4].sort(descending=True).indices.numpy()
    groups = []
    while len(order):
        first, others = order[0], order[1:]
        dropped = _iou(corners, areas, first, others, 0) >= np.float32(iou_threshold)
        groups.append([int(first), *others[dropped].tolist()])
        order = others[~dropped]
    return groups


def _areas(corners: np.ndarray, offset: int) -> np.ndarray:
    return (corners[:, 2] - corners[:, 0] + offset) * (corners[:, 3] - corners[:, 1] + offset)


def _iou(
    corners: np.ndarray, areas: np.ndarray, one: int, others: np.ndarray, offset: int
) -> np.ndarray:
    upper = np.maximum(corners[one, :2], corners[others, :2])
    lower = np.minimum(corners[one, 2:], corners[others, 2:])
    sizes = np.maximum(lower - upper + offset, 0)
    shared = sizes[:, 0] * sizes[:, 1]
    with np.errstate(divide='ignore', invalid='ignore'):  # boxes without area give NaN
        return shared / (areas[one] + areas[others] - shared)


def bbox_overlaps(
    bboxes1: torch.Tensor,
    bboxes2: torch.Tensor,
    ious: torch.Tensor,
    mode: int,
    aligned: bool,
    offset: int,
) -> None:
    """Overlaps of boxes, (M, 4) with (N, 4), into ``ious``: (M, N), or (M,) if aligned.

    ``mode`` is 0 for the IoU, 1 for the share of the box of ``bboxes1`` that is covered.
    """
    if not aligned:
        bboxes1 = bboxes1[:, None]
    upper = torch.maximum(bboxes1[..., :2], bboxes2[..., :2])
    lower = torch.minimum(bboxes1[..., 2:], bboxes2[..., 2:])
    shared = (lower - upper + offset).clamp(min=0).prod(-1)
    area = (bboxes1[..., 2:] - bboxes1[..., :2] + offset).prod(-1)
    if mode == 0:
        area = area + (bboxes2[..., 2:] - bboxes2[..., :2] + offset).prod(-1) - shared
    ious.copy_(shared / area)
