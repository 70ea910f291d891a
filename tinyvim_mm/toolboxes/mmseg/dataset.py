"""ADE20K: where its files lie, and the scores of segmentors on it."""

from typing import Any, Dict

from ..common import FullData, Score

LAYOUTS: Dict[str, str] = {
    'ADE20KDataset': 'ADE20K (https://sceneparsing.csail.mit.edu, ADEChallengeData2016.zip) is '
    'expected at {root}/ with this layout:\n'
    '  images/training/*.jpg, images/validation/*.jpg\n'
    '  annotations/training/*.png, annotations/validation/*.png\n'
    'A link serves: ln -s /where/you/have/ADEChallengeData2016 {root}'
}
FULL_DATA = {'ADE20KDataset': FullData('ADE20K', 20_210)}
SCORES = (Score('mIoU', 'Semantic Segmentation', 'mIoU'),)


def score_line(found: Dict[str, Any]) -> str:
    """The mean IoU and the part of the pixels that are right; mmseg gives them in percent."""
    return (
        f'mIoU {found["mIoU"]:.1f} over the classes that occur in ground truth or prediction, '
        f'{found["aAcc"]:.1f} % of the labelled pixels right'
    )
