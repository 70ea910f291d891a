"""Training and evaluation with the toolboxes' networks, data sets and metrics.

mmengine's Runner, which the two functions stand on, needs packages that the networks do
without; so it loads when they are asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluation import evaluate
    from .training import train

__all__ = ['evaluate', 'train']


def __getattr__(name: str) -> Any:
    if name == 'train':
        from .training import train

        return train
    if name == 'evaluate':
        from .evaluation import evaluate

        return evaluate
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
