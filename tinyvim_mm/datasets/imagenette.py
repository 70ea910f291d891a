"""Imagenette, ten classes of ImageNet, for mmpretrain."""

from ..core import compat
from ..registry import DATASETS

compat.apply()  # mmpretrain imports torchvision

from mmpretrain.datasets import ImageNet  # noqa: E402


@DATASETS.register_module()
class Imagenette(ImageNet):
    """Imagenette v2 (https://github.com/fastai/imagenette), laid out as ImageNet.

    9,469 images to train on and 3,925 to validate, in a folder per class (``train/n01440764``).
    Arguments are those of mmpretrain's ``ImageNet``.
    """

    #: The folders sorted by name, and what they hold.
    METAINFO = {
        'classes': (
            'tench',
            'English springer',
            'cassette player',
            'chain saw',
            'church',
            'French horn',
            'garbage truck',
            'gas pump',
            'golf ball',
            'parachute',
        )
    }
    #: The same classes by their number in ImageNet-1K.
    IMAGENET_NUMBERS = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)
