"""Reading and checking of checkpoints, and the one way in which weights get into a model."""

from ..core.lazy_names import lazy_names

_MODULES = {
    'Checkpoint': 'files',
    'LoadReport': 'keys',
    'Policy': 'load',
    'install_safe_loader': 'files',
    'load_file': 'files',
    'load_into': 'load',
}
_PLACES = {name: f'{__name__}.{module}' for name, module in _MODULES.items()}

__getattr__, __dir__ = lazy_names(__name__, _PLACES, dict)
