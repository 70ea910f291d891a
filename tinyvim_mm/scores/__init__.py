"""Whole public benchmarks that a workstation trains: rows of tables, one command each."""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .scoring import score

__all__ = ['score']

__getattr__, __dir__ = lazy_names(__name__, {'score': f'{__name__}.scoring'})
