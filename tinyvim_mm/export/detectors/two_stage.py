"""Faster, Mask and Cascade R-CNN: proposals, features of their regions, boxes and masks."""

from typing import Any, List, Sequence, Tuple

import torch
from torch import Tensor, nn

from . import boxes as box_ops
from .dense import DenseCandidates
from .regions import region_features


class Proposals(nn.Module):
    """The regions that an RPN proposes.

    Args:
        head: ``rpn_head`` of the detector.
        dynamic_size: See :class:`.DenseCandidates`.
    """

    def __init__(self, head: nn.Module, dynamic_size: bool) -> None:
        super().__init__()
        box_ops.check_settings(head.test_cfg, 'model.test_cfg.rpn')
        self.head = head
        self.settings = head.test_cfg
        self.candidates = DenseCandidates(head, head.test_cfg, dynamic_size, has_threshold=False)

    def forward(self, features: Sequence[Tensor], sizes: Tensor) -> Tuple[Tensor, Tensor]:
        """Boxes ``(batch, limit, 4)``, 0 where there is none, and scores ``(batch, limit)``."""
        found = self.candidates(*self.head(features), sizes)
        boxes = found.boxes
        if not self.settings['nms'].get('class_agnostic', False):
            boxes = box_ops.apart(boxes, found.scores, found.levels)
        limit = int(self.settings['max_per_img'])
        kept = box_ops.suppress(boxes, found.scores, self.settings['nms'], limit)
        scores, places = box_ops.best(kept, limit)
        boxes, _, _ = box_ops.finish(scores, places, box_ops.take(found.boxes, places))
        return boxes, scores


class TwoStage(nn.Module):
    """Detections of a two-stage detector behind the neck.

    A cascade is one of several stages; mask heads are one for each stage, or none.

    Args:
        model: The detector, with ``rpn_head`` and ``roi_head``.
        dynamic_size: See :class:`.DenseCandidates`.
    """

    def __init__(self, model: nn.Module, dynamic_size: bool) -> None:
        super().__init__()
        roi_head = model.roi_head
        self.settings = roi_head.test_cfg
        box_ops.check_settings(self.settings, 'model.test_cfg.rcnn')
        self.proposals = Proposals(model.rpn_head, dynamic_size)
        self.box_stages = list(zip(*map(_listed, _box_parts(roi_head)), strict=True))
        self.mask_stages: List[Tuple[nn.Module, nn.Module]] = []
        if roi_head.with_mask:
            parts = (roi_head.mask_roi_extractor, roi_head.mask_head)
            self.mask_stages = list(zip(*map(_listed, parts), strict=True))
        self.limit = int(self.settings['max_per_img'])
        threshold = torch.tensor(float(self.settings['score_thr']))
        self.register_buffer('score_threshold', threshold)

    def forward(self, features: Sequence[Tensor], sizes: Tensor) -> Tuple[Tensor, ...]:
        """Boxes ``(batch, limit, 4)``, scores and labels ``(batch, limit)``, best first, and masks.

        Masks are probabilities ``(batch, limit, h, w)``, each over its box.
        """
        regions, proposed = self.proposals(features, sizes)
        logits: List[Tensor] = []
        for index, (extractor, head) in enumerate(self.box_stages):
            of_stage, predicted = head(region_features(extractor, features, regions))
            of_stage = of_stage.reshape(*regions.shape[:2], -1)
            predicted = predicted.reshape(*regions.shape[:2], -1, 4)
            logits.append(of_stage)
            if index < len(self.box_stages) - 1:
                regions = _refine(head, regions, of_stage, predicted, sizes)
        scores = (sum(logits) / len(logits)).softmax(-1)[..., :-1]
        valid = (scores > self.score_threshold) & (proposed > box_ops.NONE).unsqueeze(-1)
        scores = torch.where(valid, scores, box_ops.NONE)
        boxes, scores, labels = self._choose(head, regions, predicted, scores, sizes)
        found = box_ops.finish(scores, labels, boxes)
        if not self.mask_stages:
            return found
        return (*found, self._masks(features, found[0], labels))

    def _choose(
        self, head: nn.Module, regions: Tensor, predicted: Tensor, scores: Tensor, sizes: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """The best pairs of region and class: boxes, scores, labels.

        Args:
            head: Of the last stage.
            regions: ``(batch, n, 4)``
            predicted: ``(batch, n, classes or 1, 4)``
            scores: ``(batch, n, classes)``
            sizes: See :func:`.boxes.decode`.
        """
        batch, count, classes = scores.shape
        boxes = _decode_each(head, regions, predicted, sizes)
        # Class by class, as they are suppressed.
        boxes = boxes.transpose(1, 2).expand(-1, classes, -1, -1)
        boxes = boxes.reshape(batch, classes * count, 4)
        scores = scores.transpose(1, 2).reshape(batch, classes * count)
        labels = torch.arange(classes, device=scores.device).repeat_interleave(count)
        labels = labels.unsqueeze(0).expand_as(scores)
        nms = self.settings['nms']
        if nms.get('class_agnostic', False):
            kept = box_ops.suppress(boxes, scores, nms, self.limit)
        else:
            moved = box_ops.apart(boxes, scores, labels).reshape(-1, count, 4)
            kept = box_ops.suppress(moved, scores.reshape(-1, count), nms, self.limit)
            kept = kept.reshape(batch, classes * count)
        scores, places = box_ops.best(kept, self.limit)
        return box_ops.take(boxes, places), scores, labels.gather(1, places)

    def _masks(self, features: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        probabilities = []
        for extractor, head in self.mask_stages:
            logits = head(region_features(extractor, features, boxes))
            if head.class_agnostic:
                logits = logits[:, 0]
            else:
                own = labels.reshape(-1, 1, 1, 1).expand(-1, 1, *logits.shape[2:])
                logits = logits.gather(1, own)[:, 0]
            probabilities.append(logits.sigmoid())
        masks = sum(probabilities) / len(probabilities)
        return masks.reshape(*boxes.shape[:2], *masks.shape[1:])


def _refine(
    head: nn.Module, regions: Tensor, logits: Tensor, predicted: Tensor, sizes: Tensor
) -> Tensor:
    """Regions for the next stage: boxes of the likeliest class."""
    if head.reg_class_agnostic:
        own = predicted[:, :, 0]
    else:
        likeliest = logits[..., :-1].argmax(-1)
        places = likeliest[..., None, None].expand(-1, -1, 1, 4)
        own = predicted.gather(2, places)[:, :, 0]
    return box_ops.decode(head.bbox_coder, regions, own, sizes)


def _decode_each(head: nn.Module, regions: Tensor, predicted: Tensor, sizes: Tensor) -> Tensor:
    """Boxes of each class, ``(batch, n, classes or 1, 4)``."""
    batch, count, kinds = predicted.shape[:3]
    priors = regions.unsqueeze(2).expand(-1, -1, kinds, -1).reshape(batch, count * kinds, 4)
    boxes = box_ops.decode(head.bbox_coder, priors, predicted.flatten(1, 2), sizes)
    return boxes.reshape(batch, count, kinds, 4)


def _box_parts(roi_head: nn.Module) -> Tuple[Any, Any]:
    return roi_head.bbox_roi_extractor, roi_head.bbox_head


def _listed(part: Any) -> List[nn.Module]:
    return list(part) if isinstance(part, nn.ModuleList) else [part]
