"""``tinyvim-mm cost``, also ``tools/estimate_cost.py``."""

import argparse
from pathlib import Path
from typing import Optional, Sequence

from .. import records
from .options import count, number
from .run import run_command


def build_parser(prog: str = 'tools/estimate_cost.py') -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description='From the time of a step in the log of a training, finished or running, tell '
        'how long the whole schedule takes on other numbers of devices. A few hundred steps on '
        "the recipe's data and one device of the kind in question are enough for a log.",
    )
    parser.add_argument(
        'log',
        metavar='WORK_DIR_OR_LOG',
        type=Path,
        help='work dir of the training, or a scalars.json in it',
    )
    parser.add_argument(
        '--config',
        help='take schedule and total batch of this config (default: the one that was trained; of '
        'a run with --sample, its recipe)',
    )
    parser.add_argument(
        '--devices', type=count, nargs='+', default=[1, 8, 64], help='default: %(default)s'
    )
    parser.add_argument(
        '--batch-per-gpu',
        type=count,
        help='images of one device in one step (default: the total batch of the recipe, divided)',
    )
    parser.add_argument(
        '--images', type=count, help='images of an epoch (default: those of the log or the data)'
    )
    parser.add_argument(
        '--efficiency',
        type=_share,
        default=1.0,
        help='throughput of a device among several, as a share of the measured one, where there '
        'are more of them than measured (default: 1, linear scaling)',
    )
    parser.add_argument('--price-per-gpu-hour', type=number, metavar='P', help='adds the cost')
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/estimate_cost.py') -> None:
    """Run the command, see :func:`.run_command`; ``prog`` is how the user called it."""
    print(run_command(build_parser(prog), lambda: records.estimate_cost, argv))
