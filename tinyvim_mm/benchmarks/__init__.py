"""Measurements: what they time is verified first, and ratios come from one run."""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .backends import time_backends
    from .latency import time_latency
    from .scan import time_scan
    from .training import time_training

__all__ = [
    'FORMS',
    'TRAINING_FORMS',
    'time_backends',
    'time_latency',
    'time_scan',
    'time_training',
]

#: Forms of a backbone whose latency is measured, in the order of the table.
FORMS = (
    'training',
    'deployed',
    'deployed, channels-last',
    'compiled',
    'onnxruntime',
    'onnxruntime, no scan',
)

#: Forms of a training whose speed is measured; each is compared with the first.
TRAINING_FORMS = ('contiguous fp32', 'channels-last fp32', 'channels-last bf16')

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'time_backends': f'{__name__}.backends',
        'time_latency': f'{__name__}.latency',
        'time_scan': f'{__name__}.scan',
        'time_training': f'{__name__}.training',
    },
)
