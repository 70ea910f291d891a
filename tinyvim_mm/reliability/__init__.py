"""Checks that anyone can repeat: what a training withstands, and what it repeats exactly."""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .determinism import check_determinism
    from .resume import check_resume
    from .soak import check_soak

__all__ = ['check_determinism', 'check_resume', 'check_soak']

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'check_determinism': f'{__name__}.determinism',
        'check_resume': f'{__name__}.resume',
        'check_soak': f'{__name__}.soak',
    },
)
