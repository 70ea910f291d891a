"""``tinyvim-mm scores``, also ``tools/score_benchmarks.py``."""

import argparse
from typing import Any, Optional, Sequence

from .options import count
from .run import run_command


def build_parser(prog: str = 'tools/score_benchmarks.py') -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description='Train and score networks on Imagenette, CamVid and BCCD, whole public '
        'benchmarks that a workstation can train. Rows that are done are not repeated, and '
        'interrupted ones go on. Without arguments, lists the rows.',
    )
    add = parser.add_argument
    add('rows', nargs='*', default=[], metavar='ROW', help='names of rows or of tables, or all')
    add('--out', default='work_dirs/scores', help='folder with a work dir for each row')
    add('--data-root', default='data', metavar='DIR', help='with imagenette, camvid and bccd')
    add('--jobs', type=count, default=1, help='rows at a time')
    add('--threads', type=count, help='CPU threads of each row')
    add(
        '--report', metavar='DIR', help='write records, tables and curves of the rows that are done'
    )
    add('--speed', action='store_true', help='with --report: time the networks of the tables')
    add(
        '--deployed',
        nargs='+',
        default=[],
        metavar='ROW',
        help='with --report: export finished rows, and score and time each form of them',
    )
    add(
        '--rounds',
        type=count,
        default=9,
        help='turns of each network with --speed, of each form with --deployed',
    )
    add(
        '--fill',
        nargs='+',
        default=[],
        metavar='PAGE',
        help='put the tables between <!-- scores TABLE --> and <!-- end --> of these pages',
    )
    return parser


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/score_benchmarks.py') -> None:
    """Run the command, see :func:`.run_command`; ``prog`` is how the user called it."""
    run_command(build_parser(prog), _load, argv)


def _load() -> Any:
    from ..scores import score

    return score
