"""Checkpoints between the layouts of the releases and this project's."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conversion import convert_checkpoint

__all__ = ['convert_checkpoint']


def __getattr__(name: str) -> Any:
    if name == 'convert_checkpoint':
        from .conversion import convert_checkpoint

        return convert_checkpoint
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
