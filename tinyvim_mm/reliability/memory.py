"""Memory of a process and its children over time, and whether it is flat."""

from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

#: Seconds and MiB.
Sample = Tuple[float, float]

#: While this long, a process imports, loads and fills its caches.
WARM_UP_S = 60.0
#: In a shorter time the filling of caches looks like a leak.
LEAST_S = 600.0
#: Growth, over all samples, that is called flat: a share of the median, or as many MiB.
FLAT_SHARE, FLAT_MIB = 0.02, 8.0
#: More points are thinned out before slopes are taken between all pairs.
_MOST_POINTS = 1000


class Trend(NamedTuple):
    """How a series of samples moves; see :func:`trend`."""

    median_mib: float
    slope_mib_per_hour: float
    hours: float
    flat: bool


def memory_mib(pid: int) -> Optional[float]:
    """Memory that a process and those it started asked for; pages that they share count once.

    Returns:
        ``None`` where the process is gone, or the system has no ``/proc``.
    """
    own = _own_kib(pid)
    if own is None:
        return None
    # A child that ends while it is looked at counts nothing.
    return sum([own, *(_own_kib(child) or 0 for child in _below(pid))]) / 1024


def trend(samples: Sequence[Sample]) -> Optional[Trend]:
    """The median of the slopes between all pairs of samples (Theil and Sen).

    Up to 29 % of the samples may lie anywhere without moving it, so neither a peak at every
    checkpoint nor the first minutes look like a leak.

    Returns:
        ``None`` for fewer than three samples, or less than :data:`LEAST_S`.
    """
    if len(samples) < 3 or samples[-1][0] - samples[0][0] < LEAST_S:
        return None
    times, values = np.array(samples, dtype=float)[:: -(-len(samples) // _MOST_POINTS)].T
    one, other = np.triu_indices(len(times), k=1)
    apart = times[other] != times[one]
    one, other = one[apart], other[apart]
    slope = float(np.median((values[other] - values[one]) / (times[other] - times[one])))
    median, seconds = float(np.median(values)), float(times[-1] - times[0])
    flat = slope * seconds <= max(FLAT_SHARE * median, FLAT_MIB)
    return Trend(median, 3600 * slope, seconds / 3600, flat)


def after_warm_up(samples: Sequence[Sample], warm_up: float = WARM_UP_S) -> List[Sample]:
    """Samples of one process without its first seconds."""
    return [sample for sample in samples if sample[0] - samples[0][0] >= warm_up]


def middle(samples: Sequence[Sample]) -> Sample:
    """Median of the times and of the values."""
    times, values = np.median(np.array(samples), axis=0)
    return float(times), float(values)


def _own_kib(pid: int) -> Optional[int]:
    try:
        lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    except (OSError, ValueError):
        return None
    kib = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    # Not those of files: libraries are shared with whatever else runs, and weigh by its number.
    return kib.get('Pss_Anon:', kib.get('Pss:', 0)) + kib.get('Pss_Shmem:', 0) or None


def _below(pid: int) -> List[int]:
    found = []
    for path in Path(f'/proc/{pid}/task').glob('*/children'):
        try:
            children = [int(word) for word in path.read_text().split()]
        except OSError:
            continue
        found += [*children, *(pid for child in children for pid in _below(child))]
    return found
