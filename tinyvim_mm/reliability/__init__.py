"""Checks that anyone can repeat: what a training withstands, and what it repeats exactly."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .determinism import check_determinism
    from .resume import check_resume

__all__ = ['check_determinism', 'check_resume']


def __getattr__(name: str) -> Any:
    if name == 'check_determinism':
        from .determinism import check_determinism

        return check_determinism
    if name == 'check_resume':
        from .resume import check_resume

        return check_resume
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
