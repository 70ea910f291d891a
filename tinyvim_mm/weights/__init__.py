"""Reading and checking of checkpoints, and the one way in which weights get into a model."""

import importlib
from typing import Any

# Where each public name is; it is imported when it is first used.
_HOMES = {
    'Checkpoint': '.files',
    'CheckpointError': '..core.errors',
    'LoadReport': '.keys',
    'Policy': '.load',
    'install_safe_loader': '.files',
    'load_file': '.files',
    'load_into': '.load',
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_HOMES[name], __name__), name)
