"""What a check says."""

from dataclasses import dataclass

#: Works; works, but something is worth knowing; does not work.
OK, NOTE, FAULT = 'ok', 'note', 'FAULT'


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        subject: What was looked at.
        status: ``OK``, ``NOTE`` or ``FAULT``.
        detail: What was found.
        cure: The command, or the sentence, that mends it; empty if nothing is to be done.
    """

    subject: str
    status: str
    detail: str
    cure: str = ''
