"""Heads that predict at every place of the maps: RetinaNet, SSD, FCOS, ATSS, RTMDet, RPN."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from . import boxes as box_ops


class Candidates(NamedTuple):
    """What of all levels goes into the suppression.

    Attributes:
        boxes: ``(batch, n, 4)``
        scores: ``(batch, n)``; :data:`.boxes.NONE` where there is no candidate.
        labels: ``(batch, n)``, int64.
        priors: Anchors or points, ``(batch, n, channels)``.
        extras: What the head predicts beside, ``(batch, n, channels)``.
        levels: Of the feature maps, ``(batch, n)``, int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    priors: Tensor
    extras: Optional[Tensor]
    levels: Tensor


class DenseCandidates(nn.Module):
    """The best of each level, decoded.

    Args:
        head: A dense head of mmdet, its settings those of its tests.
        settings: mmdet's ``test_cfg`` of it.
        dynamic_size: Whether the graph has to work for other sizes of images.
        has_threshold: Whether scores have to be above ``score_thr``: not in an RPN.
    """

    def __init__(
        self, head: nn.Module, settings: Any, dynamic_size: bool, has_threshold: bool = True
    ) -> None:
        super().__init__()
        self.head = head
        self.settings = settings
        self.dynamic_size = dynamic_size
        threshold = settings.get('score_thr', 0) if has_threshold else box_ops.NONE
        self.register_buffer('score_threshold', torch.tensor(float(threshold)))

    def forward(
        self,
        logits: Sequence[Tensor],
        predicted: Sequence[Tensor],
        sizes: Tensor,
        factors: Optional[Sequence[Tensor]] = None,
        extras: Optional[Sequence[Tensor]] = None,
    ) -> Candidates:
        """From the maps of a head.

        Args:
            logits: Of each level, ``(batch, priors * classes, H, W)``.
            predicted: Of each level, ``(batch, priors * 4, H, W)``.
            sizes: See :func:`.boxes.decode`.
            factors: Logits that scores are multiplied with, ``(batch, priors, H, W)``.
            extras: ``(batch, channels, H, W)``.
        """
        generator, coder = self.head.prior_generator, self.head.bbox_coder
        shapes = [level.shape[2:] for level in logits]
        grids = generator.grid_priors(shapes, device=logits[0].device)
        levels: List[Tuple[Tensor, ...]] = []
        for index, grid in enumerate(grids):
            scores = self._scores(logits[index])
            values, labels, places = self._best(scores)
            if factors is not None:
                factor = _rows(factors[index], 1)[..., 0].sigmoid().gather(1, places)
                values = torch.where(values > self.score_threshold, values * factor, box_ops.NONE)
            priors = grid.to(scores)[places]
            boxes = box_ops.decode(
                coder, priors, box_ops.take(_rows(predicted[index], 4), places), sizes
            )
            parts = [boxes, values, labels, priors, torch.full_like(labels, index)]
            if extras is not None:
                channels = extras[index].shape[1]
                parts.append(box_ops.take(_rows(extras[index], channels), places))
            levels.append(tuple(parts))
        boxes, scores, labels, priors, numbers, *rest = (
            torch.cat(part, 1) for part in zip(*levels, strict=True)
        )
        scores = box_ops.drop_small(boxes, scores, self.settings.get('min_bbox_size', -1))
        return Candidates(boxes, scores, labels, priors, rest[0] if rest else None, numbers)

    def _scores(self, logits: Tensor) -> Tensor:
        """``(batch, n, classes)``, without the background."""
        rows = _rows(logits, self.head.cls_out_channels)
        return rows.sigmoid() if self.head.use_sigmoid_cls else rows.softmax(-1)[..., :-1]

    def _best(self, scores: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and places among the priors of the best, ``(batch, k)`` each.

        The best pairs of prior and class belong to the priors whose best class is best; to
        find these first takes a hundredth of the time.
        """
        most, classes = self.settings.get('nms_pre', -1), scores.shape[2]
        best, places = self._largest(scores.amax(-1), most)
        found = box_ops.is_found(best).unsqueeze(-1)
        values = torch.where(found, box_ops.take(scores, places), box_ops.NONE).flatten(1)
        values, pairs = self._largest(values, most)
        labels = pairs % classes
        places = places.gather(1, torch.div(pairs, classes, rounding_mode='floor'))
        return torch.where(values > self.score_threshold, values, box_ops.NONE), labels, places

    def _largest(self, scores: Tensor, most: int) -> Tuple[Tensor, Tensor]:
        if most <= 0:
            places = torch.arange(scores.shape[1], device=scores.device)
            return scores, places.unsqueeze(0).expand_as(scores)
        if self.dynamic_size:  # there may be fewer
            return box_ops.best(scores, most)
        return scores.topk(min(most, int(scores.shape[1])), 1)


def _rows(maps: Tensor, channels: int) -> Tensor:
    """``(batch, priors * channels, H, W)`` to ``(batch, H * W * priors, channels)``."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, channels)


class SingleStage(nn.Module):
    """Detections of a head that is the whole detector behind the neck.

    Args:
        head: ``bbox_head`` of the detector.
        dynamic_size: See :class:`DenseCandidates`.
    """

    def __init__(self, head: nn.Module, dynamic_size: bool) -> None:
        super().__init__()
        settings = head.test_cfg
        box_ops.check_settings(settings, 'model.test_cfg')
        self.head = head
        self.limit = int(settings['max_per_img'])
        self.agnostic = bool(settings['nms'].get('class_agnostic', False))
        self.candidates = DenseCandidates(head, settings, dynamic_size)

    def forward(self, features: Sequence[Tensor], sizes: Tensor) -> Tuple[Tensor, ...]:
        """Boxes ``(batch, limit, 4)``, scores and labels ``(batch, limit)``, best first."""
        logits, predicted, *factors = self.head(features)
        found = self.candidates(logits, predicted, sizes, factors[0] if factors else None)
        scores, places = self.choose(found)
        labels = found.labels.gather(1, places)
        return box_ops.finish(scores, labels, box_ops.take(found.boxes, places))

    def choose(self, found: Candidates) -> Tuple[Tensor, Tensor]:
        """Scores and places of those that remain, ``(batch, limit)``."""
        boxes = found.boxes
        if not self.agnostic:
            boxes = box_ops.apart(boxes, found.scores, found.labels)
        kept = box_ops.suppress(boxes, found.scores, self.settings['nms'], self.limit)
        return box_ops.best(kept, self.limit)

    @property
    def settings(self) -> Any:
        """The ``test_cfg`` of the head."""
        return self.candidates.settings
