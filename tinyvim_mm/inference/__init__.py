"""Predictions on pictures, folders and videos, by networks of configs and by exported files.

:func:`predict` does it all; :func:`load_predictor` gives the network that it asks.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .loading import load_predictor
    from .prediction import predict

__all__ = ['load_predictor', 'predict']


def __getattr__(name: str) -> Any:
    if name == 'load_predictor':
        from .loading import load_predictor

        return load_predictor
    if name == 'predict':
        from .prediction import predict

        return predict
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
