"""Tables of finished trainings."""

import json
import math
import os
import textwrap
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

from ..core import tables
from ..core.errors import UsageError
from ..core.paths import file_sha256, shown
from ..recipes import metafiles
from .changes import changes_from_recipe, recipe_of
from .run_record import FINISHED
from .scalars import Record
from .training_log import LogError, TrainingLog, read_log

FORMATS = {'.md': 'markdown', '.csv': 'csv', '.json': 'json'}
#: So begins the state of a training of which nothing could be read.
NO_RESULT = 'no result'


@dataclass
class Row:
    """One training.

    Attributes:
        work_dir: Its folder.
        config: Name of its config.
        state: :data:`FINISHED`, or what is unfinished, missing or damaged.
        trained: Length, and in which unit.
        last: Scores of the last validation, as papers print them.
        best: Those of the validation whose first score was highest.
        best_at: When that was, in the unit of ``trained``.
        hours: How long it took, validation included.
        checkpoint: Name of the last one, empty if there is none.
        sha256: The first 8 digits of the checkpoint's SHA-256.
        device: Number and name of the devices.
        versions: Packages and their versions.
        changes: Settings that differ from the project's config of this name; not listed
            of a run on the sample photographs.
    """

    work_dir: str
    config: str = ''
    state: str = ''
    trained: str = ''
    last: Dict[str, float] = field(default_factory=dict)
    best: Dict[str, float] = field(default_factory=dict)
    best_at: Optional[int] = None
    hours: Optional[float] = None
    checkpoint: str = ''
    sha256: str = ''
    device: str = ''
    versions: str = ''
    changes: List[str] = field(default_factory=list)

    @property
    def damaged(self) -> bool:
        """Whether nothing could be read of it; one that is merely unfinished is not damaged."""
        return self.state.startswith(NO_RESULT)


def collect(
    work_dirs: Sequence[Union[str, Path]],
    out: Union[str, Path, None] = None,
    *,
    format: Optional[str] = None,
    write_metafile: bool = False,
) -> List[Row]:
    """Write a table of trainings; without a file, print it.

    Args:
        work_dirs: Of the trainings. One that is unfinished or damaged becomes a row that
            says so.
        out: File to write.
        format: ``'markdown'``, ``'csv'`` or ``'json'``; ``None`` takes what the name of
            ``out`` ends in, or else Markdown.
        write_metafile: Put the last scores into the metafiles beside the configs, too.

    Returns:
        The rows.

    Raises:
        UsageError: ``out`` has an unknown ending, or a row cannot go into a metafile.

    Example:
        >>> from tinyvim_mm.records import collect
        >>> collect(['work_dirs/mask_rcnn_tinyvim_b_1x_coco'], 'results.md')  # doctest: +SKIP
    """
    if format is None:
        suffix = Path(out).suffix if out else '.md'
        if suffix not in FORMATS:
            raise UsageError(f'--out {out}: it must end in {", ".join(FORMATS)}')
        format = FORMATS[suffix]
    found = [read_row(Path(work_dir)) for work_dir in work_dirs]
    rows = [row for row, _ in found]
    text = render(rows, format)
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(text, encoding='utf-8')
        print(f'Written: {shown(out)}')
    else:
        print(text, end='')
    if write_metafile:
        _write_metafiles(found)
    return rows


def read_row(work_dir: Path) -> Tuple[Row, Optional[TrainingLog]]:
    """The row of one training, and its log if that could be read."""
    row = Row(shown(work_dir))
    try:
        log = read_log(work_dir)
        row.config = log.name
        row.trained = f'{log.done} {log.unit}'
        row.hours = log.seconds / 3600
        row.device = f'{log.devices} x {log.device}'
        row.versions = log.versions
        row.changes = [] if log.on_sample else changes_from_recipe(log) or []
        _read_scores(log, row)
    except LogError as error:
        row.state = f'{NO_RESULT}: {error}'
        return row, None
    if log.done < log.wanted:
        row.state = f'unfinished: {log.done} of {log.wanted} {log.unit}'
        error = textwrap.shorten(log.runs[-1].error, 120, placeholder=' ...')
        row.state += f', stopped by {error}' if error else ''
    else:
        row.state = FINISHED + (', on the sample photographs' if log.on_sample else '')
    checkpoint = last_checkpoint(Path(work_dir))
    if checkpoint:
        row.checkpoint, row.sha256 = checkpoint.name, file_sha256(checkpoint)[:8]
    return row, log


def _read_scores(log: TrainingLog, row: Row) -> None:
    """Put the scores into a row; a validation without a figure (no prediction) has nan."""
    scores = log.toolbox.SCORES
    kept = [s for s in scores if any(s.key in record for record in log.validations)]
    if kept:

        def rank(record: Record) -> float:
            value = record.get(kept[0].key, math.nan)
            return -math.inf if math.isnan(value) else value

        best = max(log.validations, key=rank)
        row.best_at = int(best['step'])
        for target, record in ((row.last, log.validations[-1]), (row.best, best)):
            target.update({s.metric: record.get(s.key, math.nan) * s.scale for s in kept})
        return
    file = log.work_dir / 'metrics.json'  # of a run with --sample, which validates at its end
    if log.on_sample and file.is_file():
        try:
            metrics = json.loads(file.read_text(encoding='utf-8'))['metrics']
            found = metrics[log.toolbox.UNSEEN.split]
            row.last.update({s.metric: found[s.key] * s.scale for s in scores if s.key in found})
        except (ValueError, KeyError, TypeError) as error:
            raise LogError(f'{file} is no report of a sample run: {error!r}') from error


def last_checkpoint(work_dir: Path) -> Optional[Path]:
    """The file that a training noted as its last, if it is still in the work dir."""
    pointer = work_dir / 'last_checkpoint'
    if not pointer.is_file():
        return None
    # The folder may have moved since the pointer was written.
    checkpoint = work_dir / Path(os.fsdecode(pointer.read_bytes()).strip()).name
    return checkpoint if checkpoint.is_file() else None


def render(rows: Sequence[Row], name: str) -> str:
    """The table as text, in one of :data:`FORMATS`."""
    if name == 'json':
        content = [asdict(row) for row in rows]
        for row in content:
            for key in ('last', 'best'):  # JSON has no nan
                row[key] = {k: None if math.isnan(v) else v for k, v in row[key].items()}
        return json.dumps(content, indent=2) + '\n'
    table = [_cells(row) for row in rows]
    if name == 'csv':
        return tables.to_csv(table)
    lines = tables.markdown(list(table[0]), [list(cells.values()) for cells in table], spaced=True)
    return '\n'.join([*lines, ''])


def _cells(row: Row) -> Dict[str, str]:
    return {
        'config': row.config or row.work_dir,
        'state': row.state,
        'trained': row.trained,
        'last score': _words(row.last),
        'best score': f'{_words(row.best)} (at {row.best_at})' if row.best else '',
        'hours': '' if row.hours is None else f'{row.hours:.2f}',
        'checkpoint': f'{row.checkpoint} (sha256 {row.sha256})' if row.checkpoint else '',
        'device': row.device,
        'versions': row.versions,
        'changed settings': ', '.join(row.changes),
    }


def _words(scores: Dict[str, float]) -> str:
    return ', '.join(f'{metric} {value:.1f}' for metric, value in scores.items())


def _write_metafiles(found: Sequence[Tuple[Row, Optional[TrainingLog]]]) -> None:
    obstacles = [f'{row.work_dir}: {why}' for row, log in found for why in _obstacles(row, log)]
    if obstacles:
        raise UsageError('--write-metafile wrote nothing:\n  ' + '\n  '.join(obstacles))
    for row, log in found:
        path = metafiles.write_measured(recipe_of(log), _results(row, log))
        print(f'Written: {shown(path)}, {row.config}')


def _obstacles(row: Row, log: Optional[TrainingLog]) -> Iterator[str]:
    """Why a metafile must not say that a config reaches the scores of a row."""
    if log is None or row.state != FINISHED:
        yield row.state
    elif recipe_of(log) is None:
        yield f'{row.config} is none of the configs of this project'
    elif not row.last or any(math.isnan(value) for value in row.last.values()):
        yield 'its log has no scores of a validation'
    elif not row.checkpoint:
        yield 'the checkpoint that the scores belong to is not there'
    decisive = ('model', 'train_cfg', 'val_', 'test_')
    changes = [change for change in row.changes if change.startswith(decisive)]
    if changes and log is not None:
        yield f'it is not what {row.config} says: {", ".join(changes)}'


def _results(row: Row, log: TrainingLog) -> List[dict]:
    note = f'last checkpoint, {row.checkpoint} (sha256 {row.sha256}), {row.device}, {row.versions}'
    if row.changes:
        note += f', changed: {", ".join(row.changes)}'
    data = log.toolbox.FULL_DATA[log.cfg.test_dataloader.dataset.type.rpartition('.')[2]].name
    by_task: Dict[str, Dict[str, float]] = {}
    for score in log.toolbox.SCORES:
        if score.metric in row.last:
            by_task.setdefault(score.task, {})[score.metric] = round(row.last[score.metric], 2)
    return [
        {'Task': task, 'Dataset': data, 'Metrics': metrics, 'Note': f'{metafiles.MEASURED}: {note}'}
        for task, metrics in by_task.items()
    ]
