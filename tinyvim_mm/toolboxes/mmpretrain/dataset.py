"""ImageNet: where its files lie, and the scores of classifiers on it."""

from typing import Any, Dict

from ..common import FullData, Score

LAYOUTS: Dict[str, str] = {
    'ImageNet': 'ImageNet-1K (https://image-net.org, ILSVRC2012) is expected at {root}/ with one '
    'folder per class:\n'
    '  train/n01440764/*.JPEG ..., val/n01440764/*.JPEG ...\n'
    'A link serves: ln -s /where/you/have/imagenet {root}'
}
FULL_DATA = {'ImageNet': FullData('ImageNet-1k', 1_281_167)}
SCORES = (
    Score('accuracy/top1', 'Image Classification', 'Top 1 Accuracy'),
    Score('accuracy/top5', 'Image Classification', 'Top 5 Accuracy'),
)


def score_line(found: Dict[str, Any]) -> str:
    """The top-1 accuracy; mmpretrain gives it in percent."""
    return f'{found["accuracy/top1"]:.1f} % top-1 accuracy'
