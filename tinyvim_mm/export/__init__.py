"""From a checkpoint to a file that runs without PyTorch.

:func:`export` writes such files; :mod:`.runtime` runs them on pictures with numpy, Pillow
and ONNX Runtime alone. Importing this package imports neither torch nor a toolbox;
:mod:`.runtime` and :mod:`.metadata` never do.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .check import ExportMismatchError
    from .exporting import export

__all__ = ['ExportMismatchError', 'export']


def __getattr__(name: str) -> Any:
    if name == 'ExportMismatchError':
        from .check import ExportMismatchError

        return ExportMismatchError
    if name == 'export':
        from .exporting import export

        return export
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
