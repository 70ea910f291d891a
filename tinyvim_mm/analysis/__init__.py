"""What happens inside a backbone: spectra, receptive fields, feature maps, activations.

:func:`analyze` measures, draws and writes. The modules compute; what draws their results
is in :mod:`tinyvim_mm.visualization`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analysis import analyze

__all__ = ['analyze']


def __getattr__(name: str) -> Any:
    if name == 'analyze':
        from .analysis import analyze

        return analyze
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
