"""Training and evaluation with the toolboxes' networks, datasets and metrics.

mmengine's Runner, which the functions stand on, needs packages that the networks do
without; so it loads when they are asked for.
"""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .evaluation import evaluate, evaluate_network
    from .training import train

__all__ = ['evaluate', 'evaluate_network', 'train']

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'train': f'{__name__}.training',
        **dict.fromkeys(('evaluate', 'evaluate_network'), f'{__name__}.evaluation'),
    },
)
