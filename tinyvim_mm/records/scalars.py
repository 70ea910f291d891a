"""Losses, times and scores of a training, as mmengine writes them to ``scalars.json``."""

import json
import warnings
from pathlib import Path
from typing import Dict, List, Union

#: One line of the file: names to values, ``step`` among them.
Record = Dict[str, float]


def read_scalars(file: Union[str, Path]) -> List[Record]:
    """Training records of one ``vis_data/scalars.json`` of mmengine's LocalVisBackend.

    Returns:
        Those that hold a ``loss``, in order; each has ``step`` and ``lr`` too. A last
        line that is cut off is left out, with a warning.

    Raises:
        ValueError: A line is no JSON object; the message names it.
    """
    return [record for record in _read_lines(file) if 'loss' in record]


def read_validations(file: Union[str, Path]) -> List[Record]:
    """Metrics of the validations in such a file, see :func:`read_scalars`.

    ``step`` is the epoch, or the iteration of a training that counts iterations.
    """
    others = {'step', 'time', 'data_time'}
    return [record for record in _read_lines(file) if 'loss' not in record and set(record) - others]


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
