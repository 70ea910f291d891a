"""The configs of this project by name, what their metafiles say, and models handed on."""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .publishing import publish

__all__ = ['publish']

_PLACES = {'publish': f'{__name__}.publishing'}

__getattr__, __dir__ = lazy_names(__name__, _PLACES)
