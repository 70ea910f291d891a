"""Loss and learning rate over the steps of a training, from mmengine's log files."""

import json
import warnings
from pathlib import Path
from typing import Dict, List, Sequence, Tuple, Union

from .figure import new_figure, save_figure

Record = Dict[str, float]


def read_scalars(file: Union[str, Path]) -> List[Record]:
    """Training records of one ``vis_data/scalars.json`` of mmengine's LocalVisBackend.

    Args:
        file: One JSON object a line.

    Returns:
        Those that hold a ``loss``, in order; each has ``step`` and ``lr`` too. A last
        line that is cut off is left out, with a warning.

    Raises:
        ValueError: A line is no JSON object; the message names it.
    """
    return [record for record in _read_lines(file) if 'loss' in record]


def read_validations(file: Union[str, Path]) -> List[Record]:
    """Metrics of one ``vis_data/scalars.json``.

    Args:
        file: See :func:`read_scalars`.

    Returns:
        One record for each validation, in order, with its ``step``: the epoch, or
        the iteration of a training that counts iterations.

    Raises:
        ValueError: A line is no JSON object; the message names it.
    """
    return [
        record
        for record in _read_lines(file)
        if 'loss' not in record and set(record) - {'step', 'time', 'data_time'}
    ]


def _read_lines(file: Union[str, Path]) -> List[Record]:
    records: List[Record] = []
    # Not splitlines, to which other characters end a line, too.
    *whole, rest = Path(file).read_text(encoding='utf-8', errors='replace').split('\n')
    for number, line in enumerate([*whole, rest] if rest else whole, 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number > len(whole):  # the training was killed, or the disk full, while it wrote
                warnings.warn(
                    f'{file}, line {number} is cut off and left out: {line[:80]!r}; the '
                    f'{len(records)} before it are read',
                    stacklevel=4,
                )
                break
            raise ValueError(f'{file}, line {number} is no JSON: {error}') from error
        if not isinstance(record, dict):
            raise ValueError(f'{file}, line {number} is no JSON object: {line[:80]}')
        records.append(record)
    return records


def read_runs(work_dir: Union[str, Path], until: str = '') -> Dict[Path, List[Record]]:
    """Training records of the latest run in a work dir, and of the runs it resumed.

    Args:
        work_dir: A work dir of mmengine's Runner, which holds a folder per run,
            named by the time it started.
        until: Name of the last run to read, instead of the latest.

    Returns:
        Folder of a run to its records, in order of ``step``. Of an interrupted run
        those count that lie before the first step of the run that resumed it; runs
        of which nothing counts are left out.

    Raises:
        FileNotFoundError: There is no log of a training.
        ValueError: A log is damaged.
    """
    runs: Dict[Path, List[Record]] = {}
    first = float('inf')
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json'), reverse=True):
        if until and file.parents[1].name > until:
            continue
        records = [record for record in read_scalars(file) if record['step'] < first]
        if records:
            runs[file.parents[1]] = records
            first = records[0]['step']
    if not runs:
        raise FileNotFoundError(
            f'no training log in {work_dir}: expected {work_dir}/*/vis_data/scalars.json with '
            'a loss, as mmengine writes it during training'
        )
    return dict(reversed(runs.items()))


def read_training(work_dir: Union[str, Path]) -> List[Record]:
    """The records of :func:`read_runs`, one after the other."""
    return [record for records in read_runs(work_dir).values() for record in records]


def smooth(values: Sequence[float], weight: float = 0.8) -> List[float]:
    """Exponential moving average, without the bias towards the first value.

    Args:
        values: What to smooth.
        weight: Of the past, in [0, 1).
    """
    total, norm, smoothed = 0.0, 0.0, []
    for value in values:
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        smoothed.append(total / norm)
    return smoothed


def plot_training(records: Sequence[Record], out_file: Union[str, Path], title: str) -> Path:
    """Draw the total loss, its parts and the learning rate.

    Args:
        records: See :func:`read_training`.
        out_file: PNG to write; its folder is created.
        title: Stands above the picture.

    Returns:
        ``out_file``.
    """
    steps = [record['step'] for record in records]
    names = loss_parts(records)
    several = len(names) > 1  # a single part is the total again
    figure = new_figure((9, 8.5 if several else 5.5), title)
    heights = [3, 3, 1.5] if several else [3, 1.5]
    total, *between, rate = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)

    _draw(total, steps, [record['loss'] for record in records], 'total loss', 'black')
    for parts in between:
        for index, name in enumerate(names):
            points = [(record['step'], record[name]) for record in records if name in record]
            _draw(parts, *_columns(points), name, f'C{index}')
        parts.set_title('its parts', fontsize=10)
        parts.legend(fontsize=8, ncols=2)
    rate.plot(*_columns([(r['step'], r['lr']) for r in records if 'lr' in r]), color='C7')

    rate.set_ylabel('learning rate')
    rate.set_xlabel('training step')
    rate.grid(alpha=0.3)
    total.set_title('total loss', fontsize=10)
    rate.ticklabel_format(axis='y', style='sci', scilimits=(0, 0))
    for axes in (total, *between):
        axes.set_ylabel('loss')
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=0)
    total.text(
        0.99,
        0.95,
        'faint: as logged, strong: moving average',
        transform=total.transAxes,
        ha='right',
        va='top',
        fontsize=8,
    )
    return save_figure(figure, out_file)


def loss_parts(records: Sequence[Record]) -> List[str]:
    """Names of the losses that are summed up in ``loss``, in the order of the log."""
    names = {name: None for record in records for name in record}
    return [name for name in names if 'loss' in name and name != 'loss']


def _draw(axes, steps: Sequence[float], values: Sequence[float], label: str, color: str) -> None:
    axes.plot(steps, values, color=color, alpha=0.3, linewidth=1)
    axes.plot(steps, smooth(values), color=color, linewidth=1.8, label=label)


def _columns(points: Sequence[Tuple[float, float]]) -> Tuple[List[float], List[float]]:
    return [x for x, _ in points], [y for _, y in points]
