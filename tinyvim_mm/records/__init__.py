"""What a training leaves behind: its log, its changes of the recipe, costs, and tables."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .costs import estimate_cost
    from .results import collect

__all__ = ['collect', 'estimate_cost']


def __getattr__(name: str) -> Any:
    if name == 'collect':
        from .results import collect

        return collect
    if name == 'estimate_cost':
        from .costs import estimate_cost

        return estimate_cost
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
