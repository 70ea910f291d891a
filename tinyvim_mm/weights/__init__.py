"""Reading and checking of checkpoints, and the one way in which weights get into a model."""

from ..core.lazy_names import lazy_names

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(('Checkpoint', 'install_safe_loader', 'load_file'), f'{__name__}.files'),
        **dict.fromkeys(('Policy', 'load_into'), f'{__name__}.load'),
        'LoadReport': f'{__name__}.keys',
    },
)
