"""What happens inside a backbone: spectra, receptive fields, feature maps, activations.

:func:`analyze` measures, draws and writes. The modules compute; what draws their results
is in :mod:`tinyvim_mm.visualization`.
"""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .analysis import analyze

__all__ = ['analyze']

__getattr__, __dir__ = lazy_names(__name__, {'analyze': f'{__name__}.analysis'})
