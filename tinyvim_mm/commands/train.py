"""``tinyvim-mm train``, also ``tools/train.py``."""

import argparse
from typing import Optional, Sequence

from .. import training
from ..training.strategies import NAMES as STRATEGIES
from .options import config_parser
from .run import run_command


def build_parser(prog: str = 'tools/train.py') -> argparse.ArgumentParser:
    """Options: those of mmdet's tool, and ``--sample``."""
    parser = config_parser(prog, 'Train the model of a config.')
    parser.add_argument('--amp', action='store_true', help='mixed precision; on a CPU in bfloat16')
    parser.add_argument(
        '--channels-last',
        action=argparse.BooleanOptionalAction,
        help='lay model and images out channels-last; a resumed training keeps its layout '
        '(default: on a CPU, where it is faster)',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size, from the one of the recipe',
    )
    parser.add_argument(
        '--strategy',
        choices=STRATEGIES,
        default='ddp',
        help='how several processes share a training: a copy of the model in each (ddp, the '
        'default), or with gradients and optimizer state sharded (fsdp, deepspeed)',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, or from the latest in the work dir that is whole',
    )
    parser.add_argument(
        '--on-bad-sample',
        choices=['stop', 'skip'],
        default='stop',
        help='when a picture or its annotation cannot be used: name it and stop, or train on the '
        'next one in its place and list it at the end and in WORK_DIR/skipped_samples.txt',
    )
    parser.add_argument(
        '--detect-anomaly',
        action='store_true',
        help='stop at the first NaN or infinity, and name the layer and the iteration (slower)',
    )
    return parser


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/train.py') -> None:
    """Run the command, see :func:`.run_command`; ``prog`` is how the user called it."""
    run_command(build_parser(prog), lambda: training.train, argv)
