"""Tables, pictures and one file of each row, from records."""

import math
from itertools import groupby
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from ..core import tables
from ..core.errors import UsageError
from ..core.pages import between_markers
from ..core.paths import shown
from ..visualization.curves import plot_scores
from .deployment import render_deployed
from .record import ScoreRecord, read_record
from .rows import ROWS, TABLES, rows_of
from .speed import Speeds, read_speeds

#: Marks of the parts of pages that are filled.
MARK = 'scores'
MISSING = 'not measured'
#: So begin the names of files of deployed rows.
DEPLOYED = 'deployed'
#: The part with all measured rows.
SUMMARY = 'summary'


def list_rows(done: Mapping[str, Optional[ScoreRecord]]) -> str:
    """All rows by table, and which of them are done."""
    lines = []
    for table, names in groupby(done, key=lambda name: ROWS[name].table):
        lines.append(f'{table}: {TABLES[table].title}')
        for name in names:
            record = done[name]
            state = f'{TABLES[table].metric} {record.figure:.2f}' if record else '-'
            seed = f', seed {ROWS[name].seed}' if ROWS[name].seed else ''
            lines.append(f'  {name:32} {state:24} {ROWS[name].title}{seed}')
    return '\n'.join(lines)


def write_report(
    folder: Path, new: Sequence[ScoreRecord], fill: Sequence[Union[str, Path]] = ()
) -> None:
    """Write what is known of all rows; records in the folder that are not new are kept.

    Raises:
        UsageError: There is no record at all, or a page has no marks for any table.
    """
    (folder / 'records').mkdir(parents=True, exist_ok=True)
    for record in new:
        record.write(folder / 'records' / f'{record.row}.json')
    records = read_records(folder)
    if not records:
        raise UsageError(f'no row is done, and {shown(folder)} has no records')
    speeds = read_speeds(folder)
    bodies = {SUMMARY: summarize(records)}
    for name, table in TABLES.items():
        chosen = [records[row] for row in rows_of(name) if row in records]
        if chosen:
            picture = folder / f'{name}.png'
            plot_scores(_curves(chosen), picture, table.title, _axes(chosen))
            print(f'Written: {shown(picture)}')
        bodies[name] = render(name, records, speeds)
    for file in sorted(folder.glob(f'{DEPLOYED}-*.json')):
        bodies[file.stem] = render_deployed(file)
    for page in map(Path, fill):
        text = page.read_text(encoding='utf-8')
        named = [name for name in bodies if f'<!-- {MARK} {name} -->' in text]
        if not named:
            raise UsageError(f'{page} has no <!-- {MARK} TABLE --> of {", ".join(bodies)}')
        for name in named:
            text = between_markers(page, f'{MARK} {name}', bodies[name])
            page.write_text(text, encoding='utf-8')
        print(f'Written: {shown(page)}')


def read_records(folder: Path) -> Dict[str, ScoreRecord]:
    """Records of a report, by row.

    Raises:
        UsageError: One of them cannot be read.
    """
    try:
        found = [read_record(file) for file in sorted((folder / 'records').glob('*.json'))]
    except ValueError as error:
        raise UsageError(str(error)) from error
    return {record.row: record for record in found}


def render(name: str, records: Mapping[str, ScoreRecord], speeds: Speeds) -> str:
    """One table in Markdown, with what it was measured on below."""
    table = TABLES[name]
    rows = [records[row] for row in rows_of(name) if row in records]
    seeds = sorted({record.seed for record in rows}) or [0]
    several = len(seeds) > 1
    further = _further(name, rows)
    head = [table.title, *(table.metric + (f', seed {s}' if several else '') for s in seeds)]
    head += [*further, *speeds.head(name), 'hours of training']
    body = []
    for title in dict.fromkeys(ROWS[row].title for row in rows_of(name)):
        own = {r.seed: r for r in rows if ROWS[r.row].title == title}
        first = next(iter(own.values()), None)
        cells = [_figure(own.get(seed)) for seed in seeds]
        cells += [_share(first, key, table.scale) for key in further.values()]
        cells += speeds.cells(name, title)
        cells.append(', '.join(f'{own[s].hours:.2f}' for s in seeds if s in own) or '')
        body.append([title, *cells])
    lines = [*tables.markdown(head, body), '', *_notes(name, rows)]
    return '\n'.join([*lines, *speeds.notes(name)])


def summarize(records: Mapping[str, ScoreRecord]) -> str:
    """What was measured of all tables, in one in Markdown."""
    body = []
    for name, table in TABLES.items():
        for title in dict.fromkeys(ROWS[row].title for row in rows_of(name)):
            own = [records[row] for row in rows_of(name) if row in records]
            figures = [f'{record.figure:.2f}' for record in own if ROWS[record.row].title == title]
            if figures:
                body.append([table.title, title, f'{table.metric} {" / ".join(figures)}'])
    lines = tables.markdown(['benchmark', 'network', 'measured, one figure for each seed'], body)
    return '\n'.join(lines)


def _figure(record: Optional[ScoreRecord]) -> str:
    return MISSING if record is None else f'{record.figure:.2f}'


def _share(record: Optional[ScoreRecord], key: str, scale: float) -> str:
    value = record.scores.get(key) if record else None
    return '' if value is None else f'{value * scale:.1f}'


def _further(name: str, rows: Sequence[ScoreRecord]) -> Dict[str, str]:
    """Further columns: their heads, and the keys of the scores."""
    if name == 'bccd':
        return {'AP': 'coco/bbox_mAP', 'AP75': 'coco/bbox_mAP_75'}
    keys = dict.fromkeys(key for record in rows for key in record.scores if key[:4] == 'IoU.')
    return {key[4:]: key for key in keys}


def _notes(name: str, rows: Sequence[ScoreRecord]) -> List[str]:
    if not rows:
        return [f'- Measure with `tinyvim-mm scores {name}`.']
    where = 'the last weights on the validation split'
    if TABLES[name].split == 'test':
        where = 'the test split, read once when the training was over'
    notes = [f'- `tinyvim-mm scores {name}` measures all; scores are of {where}.']
    spread = _spread(rows)
    if spread:
        notes.append(
            f'- Two seeds of one network differ by up to {spread:.2f} points here: smaller '
            'differences between networks are none.'
        )
    elif len(rows) > 1:
        notes.append('- One seed each: how far seeds differ was not measured here.')
    for machine, group in _by_machine(rows).items():
        names = '' if len(group) == len(rows) else f'{", ".join(r.row for r in group)}: '
        notes.append(f'- {names}{machine}')
    return notes


def _spread(rows: Sequence[ScoreRecord]) -> float:
    by_title: Dict[str, List[float]] = {}
    for record in rows:
        by_title.setdefault(ROWS[record.row].title, []).append(record.figure)
    return max((max(values) - min(values) for values in by_title.values()), default=0.0)


def _by_machine(rows: Sequence[ScoreRecord]) -> Dict[str, List[ScoreRecord]]:
    groups: Dict[str, List[ScoreRecord]] = {}
    for record in rows:
        machine = record.machine
        number = machine['threads']
        threads = f', {number} thread{"s" * (number > 1)}'
        versions = ', '.join(f'{name} {version}' for name, version in record.versions.items())
        scan = ' and '.join(machine['scan']) or 'none'
        words = (
            f'{machine["devices"]} x {machine["device"]}{threads}, {machine["precision"]}, '
            f'scan {scan}, {versions}'
        )
        groups.setdefault(words, []).append(record)
    return groups


def _curves(records: Sequence[ScoreRecord]) -> Dict[str, Any]:
    """Points of each row: what its validations scored, in percent."""
    table = TABLES[ROWS[records[0].row].table]
    curves = {}
    for record in records:
        row = ROWS[record.row]
        points = [
            (v['step'], v[table.score] * table.scale)
            for v in record.validations
            if isinstance(v.get(table.score), (int, float)) and math.isfinite(v[table.score])
        ]
        curves[row.title + (f', seed {row.seed}' if row.seed else '')] = points
    return curves


def _axes(records: Sequence[ScoreRecord]) -> Sequence[str]:
    table = TABLES[ROWS[records[0].row].table]
    unit = records[0].unit
    return unit, f'{table.metric.replace("test ", "")} on the validation split'
