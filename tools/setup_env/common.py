"""The folders that a set-up works in, and its error."""

from pathlib import Path

PROGRAM = Path(__file__).resolve().parent  # what Python is started with
ROOT = PROGRAM.parent.parent
VENV = ROOT / '.venv'
STAMPS = VENV / '.tinyvim'
CACHE = ROOT / '.cache'


class SetupError(Exception):
    """The environment cannot be set up; the message says why and what helps."""
