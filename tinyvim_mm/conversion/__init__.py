"""Checkpoints between the layouts of the releases and this project's."""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .conversion import convert_checkpoint

__all__ = ['convert_checkpoint']

_PLACES = {'convert_checkpoint': f'{__name__}.conversion'}

__getattr__, __dir__ = lazy_names(__name__, _PLACES)
