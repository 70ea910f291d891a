"""What stands in a table: figures beside each other, notes, and where they were measured."""

import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ..core import tables
from ..core.errors import UsageError
from ..core.pages import between_markers
from ..measuring.cost import METHOD
from .schema import METRICS, Table

MISSING = 'not measured'
DASH = '–'
#: How far a measured figure may lie from a published one, relative, to agree with it.
AGREEMENT = 0.01

#: By row, then metric: ``{'measured': float}`` or ``{'reason': str}``, with ``'spread'`` for times.
Cells = Dict[str, Dict[str, Dict[str, Any]]]


def agrees(published: float, measured: float) -> bool:
    """Whether a figure is within 1 % of a published one, or rounds to it."""
    digits = len(f'{published:g}'.partition('.')[2])
    return (
        abs(measured / published - 1) <= AGREEMENT
        or abs(round(measured, digits) - published) < 10**-digits / 2
    )


def columns_of(table: Table, settings: Sequence[object]) -> List[str]:
    """Metrics of a table, those of speed once for each setting, latency where one image runs.

    Settings may be words, too: ``'batch 1, fp32, eager'``.
    """
    single = [setting for setting in settings if str(setting).startswith('batch 1,')]
    names: List[str] = []
    for metric in table.metrics:
        chosen = single if metric == 'latency' else settings
        names += [f'{metric}: {s}' for s in chosen] if METRICS[metric].timed else [metric]
    return names


def flatten(table: Table, cells: Cells, settings: Sequence[object]) -> List[Dict[str, Any]]:
    """One record for each row and metric: published, measured, ratio."""
    records = []
    reference = {row.name: row.published for row in table.rows}.get(table.reference, {})
    for row in table.rows:
        for column in columns_of(table, settings):
            metric, _, setting = column.partition(': ')
            cell = cells.get(row.name, {}).get(column, {})
            published, measured = row.published.get(metric), cell.get('measured')
            published_ratio = relative = agreeing = None
            if METRICS[metric].relative:
                published_ratio = _over(published, reference.get(metric))
                beside = cells.get(table.reference, {}).get(column, {}).get('measured')
                relative = _over(measured, beside)
                ratio = _over(relative, published_ratio)
            else:
                ratio = _over(measured, published)
                agreeing = None if ratio is None else agrees(published, measured)
            records.append(
                {
                    'network': row.name,
                    'metric': metric,
                    'setting': setting,
                    'published': published,
                    'measured': measured,
                    'spread': cell.get('spread'),
                    'published_relative': published_ratio,
                    'measured_relative': relative,
                    'ratio': ratio,
                    'agrees': agreeing,
                    'note': cell.get('reason' if measured is None else 'note', ''),
                }
            )
    return records


def _over(value: Optional[float], reference: Optional[float]) -> Optional[float]:
    return None if value is None or not reference else value / reference


def to_markdown(table: Table, records: List[Dict[str, Any]], facts: Dict[str, Any]) -> str:
    """A table in Markdown; each cell is ``published / measured (ratio)``.

    Columns without any published figure hold measured figures alone.
    """
    columns = list(dict.fromkeys((r['metric'], r['setting']) for r in records))
    compared = {r['metric'] for r in records if r['published'] is not None}
    head = ['published / measured (ratio)' if compared else 'measured']
    head += [METRICS[m].title + (f', {setting}' if setting else '') for m, setting in columns]
    cells = {row.name: [row.name] for row in table.rows}
    for record in records:
        cells[record['network']].append(_cell(record, record['metric'] in compared))
    notes = [f'- {table.remark}'] if table.remark else []
    for row in table.rows:
        for metric, figure in row.released.items():
            title = METRICS[metric].title
            notes.append(f'- {row.name}, {title}: {figure:g} in the table of its release.')
    reasons: Dict[str, Dict[str, None]] = {}  # in order, and each network once
    for record in records:
        if record['note']:
            reasons.setdefault(record['note'], {})[record['network']] = None
    every = len(table.rows)
    for reason, networks in reasons.items():
        notes.append(f'- {"All" if len(networks) == every else ", ".join(networks)}: {reason}')
    checked = [record for record in records if record['agrees'] is not None]
    if checked:
        off = [r for r in checked if not r['agrees']]
        names = ', '.join(f'{r["network"]} ({METRICS[r["metric"]].title})' for r in off)
        notes.append(
            f'- {len(checked) - len(off)} of {len(checked)} figures that are both published and '
            f'measured, speed aside, agree within {AGREEMENT:.0%} or the rounding of what is '
            f'published{"; not " + names if off else ""}.'
        )
    if any(METRICS[r['metric']].relative and r['measured'] for r in records):
        notes.append(
            '- Speed depends on the machine. In brackets: how fast relative to '
            f'{table.reference}, published → measured.'
        )
    where = '- Measured: ' + ', '.join(f'{name} {value}' for name, value in facts.items())
    lines = tables.markdown(head, list(cells.values()))
    return '\n'.join([f'## {table.title}', '', *lines, '', *notes, where, ''])


def _cell(record: Dict[str, Any], compared: bool) -> str:
    metric = METRICS[record['metric']]
    published, measured = record['published'], record['measured']
    first = f'{DASH if published is None else f"{published:g}"} / ' if compared else ''
    if measured is None:
        return DASH if published is None and not record['note'] else f'{first}{MISSING}'
    if metric.digits > 6:
        return f'{first}{measured:.0e}'
    cell = f'{first}{measured:.{metric.digits}f}'
    if metric.timed:
        # Three digits, from a fraction of an image a second to thousands of them.
        digits = max(0, 2 - math.floor(math.log10(measured)))
        cell = f'{first}{measured:.{digits}f} ± {record["spread"]:.{digits}f}'
    if metric.relative:
        there, here = record['published_relative'], record['measured_relative']
        if here is None:
            return cell
        return f'{cell} ({f"{there:.2f} → " if there is not None else ""}{here:.2f})'
    return cell if record['ratio'] is None else f'{cell} ({record["ratio"]:.3f})'


def page(texts: Dict[str, str]) -> str:
    """All tables as one page."""
    intro = (
        "# The paper's tables, and what was measured\n\nWritten by `tools/reproduce.py`. "
        '"Published" is what the paper (arXiv 2411.17473) says; "measured" comes from the command '
        f'that stands below each table; a dash: not published.\n\n{METHOD}\n'
    )
    return '\n'.join([intro, *texts.values()])


def fill(path: Path, texts: Dict[str, str]) -> List[str]:
    """Put tables between the markers of a page, ``<!-- reproduce NAME -->`` ... ``<!-- end -->``.

    Returns:
        Names of the tables that it has markers for.

    Raises:
        UsageError: The file has no such markers, or an opening one without an end.
    """
    text = path.read_text(encoding='utf-8')
    filled = [name for name in texts if f'<!-- reproduce {name} -->' in text]
    if not filled:
        raise UsageError(
            f'{path} has no marker for any of {", ".join(texts)}; put '
            f'<!-- reproduce {next(iter(texts))} --> and <!-- end --> where a table should stand'
        )
    for name in filled:
        body = texts[name].partition('\n')[2]  # the page has its own heading
        path.write_text(between_markers(path, f'reproduce {name}', body), encoding='utf-8')
    return filled
