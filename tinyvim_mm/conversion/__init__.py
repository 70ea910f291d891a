"""Checkpoints between the layouts of the releases and this project's, and as they are handed on."""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .conversion import convert_checkpoint
    from .publishing import publish

__all__ = ['convert_checkpoint', 'publish']

_PLACES = {'convert_checkpoint': f'{__name__}.conversion', 'publish': f'{__name__}.publishing'}

__getattr__, __dir__ = lazy_names(__name__, _PLACES)
