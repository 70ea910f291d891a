"""From a checkpoint to a file that runs without PyTorch.

:func:`export` writes such files; :mod:`.runtime` runs them on pictures with numpy, Pillow
and ONNX Runtime alone. Importing this package imports neither torch nor a toolbox;
:mod:`.runtime` and :mod:`.metadata` never do.
"""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .exporting import export

__all__ = ['export']

__getattr__, __dir__ = lazy_names(__name__, {'export': f'{__name__}.exporting'})
