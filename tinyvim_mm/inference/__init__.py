"""Predictions on pictures, folders and videos, by networks of configs and by exported files.

:func:`predict` does it all; :func:`load_predictor` gives the network that it asks, and
:func:`evaluate_exported` scores exported files.
"""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .evaluation import evaluate_exported
    from .loading import load_predictor
    from .prediction import predict

__all__ = ['evaluate_exported', 'load_predictor', 'predict']

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'evaluate_exported': f'{__name__}.evaluation',
        'load_predictor': f'{__name__}.loading',
        'predict': f'{__name__}.prediction',
    },
)
