"""Generated parts of pages, between ``<!-- NAME -->`` and ``<!-- end -->``."""

import re
from pathlib import Path

from .errors import UsageError


def between_markers(page: Path, name: str, body: str) -> str:
    """Text of a Markdown page with ``body`` between its markers, whose absence is a UsageError."""
    text = page.read_text(encoding='utf-8')
    start = f'<!-- {name} -->'
    if start not in text:
        raise UsageError(
            f'{page} has no marker {start}; put it and <!-- end --> where the table should stand'
        )
    pattern = re.compile(re.escape(start) + r'.*?<!-- end -->', re.DOTALL)
    text, count = pattern.subn(lambda _: f'{start}\n{body.strip()}\n<!-- end -->', text)
    if not count:
        raise UsageError(f'{page}: {start} has no <!-- end --> after it')
    return text
