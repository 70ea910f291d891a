"""``tinyvim-mm reproduce``, also ``tools/reproduce.py``."""

import argparse
from typing import Optional, Sequence, Tuple

from .. import reproduction
from ..reproduction.tables import TABLES
from .options import add_cfg_options, add_trust_option, count
from .run import run_command


def build_parser(prog: str = 'tools/reproduce.py') -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Measure the paper's tables on this machine, and write each figure beside the "
        'published one. What cannot be measured is said so, and why.',
    )
    parser.add_argument('table', choices=[*TABLES, 'all'], metavar='TABLE', help=', '.join(TABLES))
    parser.add_argument('--out', default='work_dirs/reproduce', help='folder for the results')
    parser.add_argument(
        '--checkpoint',
        dest='checkpoints',
        type=_pair,
        nargs='+',
        default=[],
        metavar='CONFIG=FILE',
        help='evaluate a checkpoint for the accuracies, with the config of that name',
    )
    parser.add_argument(
        '--data-root', metavar='DIR', help="folder that stands for `data/` in the configs' paths"
    )
    add_cfg_options(parser, 'change settings of the configs that checkpoints are evaluated with')
    add_trust_option(parser)
    parser.add_argument('--device', help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument(
        '--batch',
        dest='batches',
        metavar='BATCH',
        nargs='+',
        type=count,
        help='batch sizes of the throughput',
    )
    parser.add_argument('--precisions', nargs='+', choices=['fp32', 'tf32', 'bf16'])
    parser.add_argument('--forms', nargs='+', choices=['eager', 'compiled', 'cuda-graph'])
    parser.add_argument('--rounds', type=count, default=7, help='turns of each network')
    parser.add_argument('--threads', type=count, help='CPU threads')
    parser.add_argument(
        '--no-throughput', dest='throughput', action='store_false', help='measure no speeds'
    )
    parser.add_argument(
        '--rows',
        nargs='+',
        metavar='NAME',
        help='only the networks whose name contains one of these',
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        help='keep what an interrupted run with the same device and versions has measured',
    )
    parser.add_argument(
        '--fill',
        nargs='+',
        default=[],
        metavar='PAGE',
        help='put the tables between <!-- reproduce TABLE --> and <!-- end --> of these pages',
    )
    return parser


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/reproduce.py') -> None:
    """Run the command, see :func:`.run_command`; ``prog`` is how the user called it."""
    run_command(build_parser(prog), lambda: reproduction.reproduce, argv)


def _pair(text: str) -> Tuple[str, str]:
    config, _, file = text.partition('=')
    if not file:
        raise argparse.ArgumentTypeError(f'takes CONFIG=FILE, got {text!r}')
    return config, file
