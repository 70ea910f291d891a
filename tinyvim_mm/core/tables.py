"""Tables as text: Markdown and CSV."""

import csv
import io
from typing import Any, List, Mapping, Sequence


def markdown(head: Sequence[str], rows: Sequence[Sequence[Any]], spaced: bool = False) -> List[str]:
    """Lines of a table in Markdown; a ``|`` in a cell, which would end it, becomes a ``/``.

    The line below the head is ``|---|``, or ``| --- |`` where ``spaced``.
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
