"""What a soak found, in words, as JSON and as a picture."""

import json
from collections import Counter
from pathlib import Path
from typing import List, Mapping, NamedTuple, Sequence, Tuple

from ..visualization.memory import plot_memory
from .memory import Sample, Trend, after_warm_up, middle, trend


class Event(NamedTuple):
    """One disturbance: when, what, how the training ended, and what was wrong with that."""

    seconds: float
    kind: str
    code: int
    fault: str = ''


def report(
    folder: Path,
    seconds: float,
    epochs: int,
    events: Sequence[Event],
    memory: Mapping[str, List[List[Sample]]],
    compared: Tuple[int, List[str]],
    warm_up: float,
) -> bool:
    """Print the figures, and write ``soak.json`` and ``soak.png``.

    Args:
        folder: Where to.
        seconds: How long the disturbed training took.
        epochs: How many were trained when both were compared.
        events: What disturbed it.
        memory: Samples of each process, of the undisturbed training and the disturbed one.
        compared: Number of tensors and settings, and the places where they differ.
        warm_up: Seconds of each process that do not count.

    Returns:
        Whether all is as it should be.
    """
    (number, where), minutes = compared, seconds / 60
    through = max(warm_up, 0.1 * seconds)
    # A process that is killed soon is one point: whether each begins where the last did.
    lives = [after_warm_up(life, warm_up) for life in memory['disturbed'] if life]
    trends = {
        'undisturbed': trend(after_warm_up(memory['undisturbed'][0], through)),
        'disturbed': trend([middle(life) for life in lives if life]),
    }
    faults = [event for event in events if event.fault]
    flat = all(found.flat for found in trends.values() if found)
    ok = not (where or faults) and flat
    record = {
        'ok': ok,
        'minutes': round(minutes, 1),
        'epochs': epochs,
        'compared': number,
        'different': where,
        'trends': {name: found and found._asdict() for name, found in trends.items()},
        'events': [event._asdict() for event in events],
        'memory_mib': memory,
    }
    (folder / 'soak.json').write_text(json.dumps(record) + '\n')
    kinds = Counter(event.kind for event in events)
    times = {kind: [e.seconds for e in events if e.kind == kind] for kind in kinds}
    title = f'Memory of a training of {minutes:.0f} minutes, disturbed and undisturbed'
    plot_memory(memory, times, folder / 'soak.png', title)
    disturbed = ', '.join(f'{count} x {kind}' for kind, count in kinds.items()) or 'nothing'
    print(
        f'{minutes:.1f} minutes, {epochs} epochs, disturbed by {disturbed}; {len(where)} of '
        f'{number} tensors and settings differ; {len(faults)} ends were wrong'
    )
    for name, found in trends.items():
        print(f'memory, {name}: ' + (_in_words(found) if found else 'too short to judge'))
    for place in where[:10]:
        print(f'  differs: {place}')
    return ok


def _in_words(found: Trend) -> str:
    return (
        f'median {found.median_mib:.0f} MiB, {found.slope_mib_per_hour:+.2f} MiB an hour over '
        f'{60 * found.hours:.0f} minutes, {"flat" if found.flat else "GROWING"}'
    )
