"""mmsegmentation's mean IoU, with the IoU of each class beside it."""

from typing import Any, Dict, List

from ..core import compat
from ..registry import METRICS

compat.apply()

from mmseg.evaluation import IoUMetric  # noqa: E402


@METRICS.register_module()
class IoUPerClass(IoUMetric):
    """As ``IoUMetric``, which prints the IoU of each class and returns only means.

    Arguments are those of mmseg's. Returned besides: ``IoU.CLASS`` in percent, ``nan`` for a class
    that neither the images nor the predictions have.
    """

    def compute_metrics(self, results: List[Any]) -> Dict[str, float]:
        """Sum the pixels of all images, then divide, as the mean does."""
        scores = super().compute_metrics(results)
        if self.format_only:
            return scores
        intersections, unions, *_ = (sum(part) for part in zip(*results, strict=True))
        shares = (100 * intersections / unions).tolist()
        names = self.dataset_meta['classes']
        return {**scores, **{f'IoU.{n}': s for n, s in zip(names, shares, strict=True)}}
