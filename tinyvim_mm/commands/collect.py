"""``tinyvim-mm collect``, also ``tools/collect_results.py``."""

import argparse
from pathlib import Path
from typing import Any, List, Optional, Sequence

from .. import records
from ..core.errors import PartlyFailedError, UsageError
from .run import run_command


def build_parser(prog: str = 'tools/collect_results.py') -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description='Make a table of trainings from their logs. One that is unfinished or '
        'damaged becomes a row that says so; after a damaged one the exit code is not 0.',
    )
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', type=Path)
    parser.add_argument(
        '--format',
        choices=['csv', 'json', 'markdown'],
        help='default: as --out ends, or markdown',
    )
    parser.add_argument(
        '--out', type=Path, metavar='FILE', help='write the table to FILE.md, .csv or .json'
    )
    parser.add_argument(
        '--write-metafile',
        action='store_true',
        help="put the last scores of finished trainings of the project's configs into "
        'configs/*/metafile.yml, beside the published ones and marked as measured',
    )
    return parser


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/collect_results.py') -> None:
    """Run the command, see :func:`.run_command`; ``prog`` is how the user called it."""
    run_command(build_parser(prog), lambda: _collect, argv)


def _collect(work_dirs: List[Path], **settings: Any) -> None:
    """Let the exit code say whether the table is whole; it is written before."""
    rows = records.collect(work_dirs, **settings)
    damaged = [row for row in rows if row.damaged]
    if not damaged:
        return
    lines = ''.join(f'\n  {row.work_dir}: {row.state}' for row in damaged)
    kind = UsageError if len(damaged) == len(rows) else PartlyFailedError
    raise kind(f'{len(damaged)} of {len(rows)} trainings could not be read:{lines}')
