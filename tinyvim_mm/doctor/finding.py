"""What a check says."""

from dataclasses import dataclass

#: Works; works, but something is worth knowing; does not work.
OK, NOTE, FAULT = 'ok', 'note', 'FAULT'


@dataclass(frozen=True)
class Finding:
    """Result of one check: ``status`` is ``OK``, ``NOTE`` or ``FAULT``.

    ``cure`` is the command, or the sentence, that mends it; empty if nothing is to be done.
    """

    subject: str
    status: str
    detail: str
    cure: str = ''


def first_line(error: Exception) -> str:
    """An error in one line, for a detail."""
    return f'{type(error).__name__}: {(str(error).splitlines() or [""])[0]}'
