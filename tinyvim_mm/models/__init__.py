"""Backbones, necks, heads and classifiers; their public names are here, too.

Those that belong to no toolbox need torch and mmengine only.
"""

from typing import TYPE_CHECKING

from ..core.lazy_names import PLACES, lazy_names
from .catalogue import backbone_modules

if TYPE_CHECKING:
    from .. import *  # noqa: F403
else:
    _places = {name: place for name, place in PLACES.items() if place.startswith(__name__)}
    __getattr__, __dir__ = lazy_names(__name__, _places, backbone_modules)
