"""What a training leaves behind: its log, its changes of the recipe, costs, and tables."""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .costs import estimate_cost
    from .results import collect

__all__ = ['collect', 'estimate_cost']

__getattr__, __dir__ = lazy_names(
    __name__, {'collect': f'{__name__}.results', 'estimate_cost': f'{__name__}.costs'}
)
