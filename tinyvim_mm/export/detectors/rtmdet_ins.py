"""RTMDet-Ins: a mask of each detection from kernels that the head predicts for it."""

from typing import List, Sequence, Tuple

from torch import Tensor, nn

from . import boxes as box_ops
from .dense import SingleStage


class RTMDetIns(SingleStage):
    """Detections with logits of masks at the stride of the finest level."""

    def forward(self, features: Sequence[Tensor], sizes: Tensor) -> Tuple[Tensor, ...]:
        """As of :class:`.SingleStage`, and masks.

        They are logits ``(batch, limit, H / stride, W / stride)`` over the whole input.
        """
        logits, predicted, kernels, mask_features = self.head(features)
        found = self.candidates(logits, predicted, sizes, extras=kernels)
        scores, places = self.choose(found)
        priors = box_ops.take(found.priors, places)
        widths = priors.new_tensor([stride[0] for stride in self.head.prior_generator.strides])
        strides = widths[found.levels.gather(1, places)]
        masks = self._masks(mask_features, box_ops.take(found.extras, places), priors, strides)
        labels = found.labels.gather(1, places)
        return (*box_ops.finish(scores, labels, box_ops.take(found.boxes, places)), masks)

    def _masks(self, features: Tensor, kernels: Tensor, points: Tensor, strides: Tensor) -> Tensor:
        """Three layers with weights of their own for each detection.

        Args:
            features: ``(batch, channels, H, W)``
            kernels: Weights, then biases, ``(batch, n, parameters)``.
            points: Where each was detected, ``(batch, n, 2)``.
            strides: Of the level that it was detected at, ``(batch, n)``.
        """
        height, width = features.shape[2:]
        grid = self.head.prior_generator.single_level_grid_priors(
            (height, width), level_idx=0, device=features.device
        )
        # Where a pixel lies, seen from the detection: (batch, n, 2, H * W).
        place = (points.unsqueeze(-1) - grid.t()) / (strides[..., None, None] * 8)
        weights, biases = self._layers(kernels)
        # The features are the same for all detections: they are not copied for each.
        ahead = weights[0][..., 2:] @ features.flatten(2).unsqueeze(1)
        x = ahead + weights[0][..., :2] @ place + biases[0]
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            x = weight @ x.relu() + bias
        return x.reshape(features.shape[0], self.limit, height, width)

    def _layers(self, kernels: Tensor) -> Tuple[List[Tensor], List[Tensor]]:
        """Weights ``(batch, n, outputs, inputs)`` and biases ``(batch, n, outputs, 1)``."""
        sizes = [*self.head.weight_nums, *self.head.bias_nums]
        parts = kernels.split([int(size) for size in sizes], -1)
        count = len(self.head.weight_nums)
        outputs = [int(size) for size in self.head.bias_nums]
        weights = [
            part.reshape(kernels.shape[0], self.limit, out, int(size) // out)
            for part, out, size in zip(parts[:count], outputs, sizes[:count], strict=True)
        ]
        return weights, [part.unsqueeze(-1) for part in parts[count:]]


def mask_stride(head: nn.Module) -> int:
    """Pixels of the input for each of a mask."""
    return int(head.prior_generator.strides[0][0])
