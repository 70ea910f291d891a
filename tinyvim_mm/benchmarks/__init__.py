"""Measurements: what they time is verified first, and ratios come from one run."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .latency import time_latency
    from .scan import time_scan

__all__ = ['FORMS', 'time_latency', 'time_scan']

#: Forms of a backbone whose latency is measured, in the order of the table.
FORMS = (
    'training',
    'deployed',
    'deployed, channels-last',
    'compiled',
    'onnxruntime',
    'onnxruntime, no scan',
)


def __getattr__(name: str) -> Any:
    if name == 'time_latency':
        from .latency import time_latency

        return time_latency
    if name == 'time_scan':
        from .scan import time_scan

        return time_scan
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
