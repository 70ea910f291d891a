"""Tables as text: Markdown, CSV, and in the place that a page keeps for them."""

import csv
import io
import re
from typing import Any, List, Mapping, Optional, Sequence


def markdown(head: Sequence[str], rows: Sequence[Sequence[Any]], spaced: bool = False) -> List[str]:
    """Lines of a table in Markdown.

    Args:
        head: Titles of the columns.
        rows: Cells; a ``|`` in one, which would end it, becomes a ``/``.
        spaced: Write the line below the head as ``| --- |``, else as ``|---|``.
    """
    rule = _line(['---'] * len(head)) if spaced else '|---' * len(head) + '|'
    return [_line(head), rule, *map(_line, rows)]


def _line(cells: Sequence[Any]) -> str:
    return f'| {" | ".join(str(cell).replace("|", "/") for cell in cells)} |'


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as comma-separated values, with the keys of the first row as its head."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def fill(page: str, start: str, table: str, end: str = '<!-- end -->') -> Optional[str]:
    """A page with a table between two markers, in the place of what stood there.

    Args:
        page: Text of the page.
        start: Marker before the table.
        table: Its text.
        end: Marker behind it; the first one that follows ``start`` counts.

    Returns:
        The new text, or ``None`` if ``end`` does not follow ``start``.
    """
    pattern = re.compile(f'{re.escape(start)}.*?{re.escape(end)}', re.DOTALL)
    text, count = pattern.subn(lambda _: f'{start}\n{table}\n{end}', page)
    return text if count else None
