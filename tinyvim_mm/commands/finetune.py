"""``tinyvim-mm finetune``, also ``tools/finetune.py``."""

import argparse
from typing import Optional, Sequence

from .options import add_trust_option, count, number
from .run import run_command

_DESCRIPTION = """\
Train on your own pictures: COCO JSON, YOLO text files, Pascal VOC, folders of classes, or pairs of
picture and label map. Everything wrong in the data is named; then a config is written, trained and
kept, with curves, confusion matrix, predictions, and a folder that demo and export take."""


def build_parser(prog: str = 'tools/finetune.py') -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog=prog, description=_DESCRIPTION)
    add = parser.add_argument
    add('data', metavar='DATA', help='folder with pictures and annotations, or a COCO JSON file')
    add('--task', choices=['detect', 'segment', 'classify'], help='default: by the layout')
    add('--model', help='name of a config (retinanet_tinyvim_b_1x_coco), or its path')
    add('--out', metavar='DIR', help='default: work_dirs/finetune/NAME, after the data')
    add('--weights', metavar='FILE', help='to start from: of a backbone, or of a whole model')
    add('--classes', metavar='FILE', help='names of the classes, one a line')
    add(
        '--ignore',
        type=int,
        nargs='*',
        default=(255,),
        metavar='VALUE',
        help='values of label maps that are not trained (default: 255)',
    )
    add('--epochs', type=count, help='passes over the training pictures')
    add('--batch-size', type=count, help='pictures a step')
    add('--lr', type=number, help='highest learning rate')
    add('--image-size', type=count, metavar='PIXELS', help='longest side, or side of the crops')
    add('--device', help='cpu, cuda, cuda:1 ... (default: what is there)')
    add(
        '--strict',
        action='store_true',
        help='stop if anything in the data is wrong; without it, what is wrong is left out, and '
        'the command stops only if that is most of it',
    )
    add('--resume', action='store_true', help='go on with an interrupted training in --out')
    add('--dry-run', action='store_true', help='check the data, write the config, and stop')
    add_trust_option(parser)
    return parser


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/finetune.py') -> None:
    """Run the command, see :func:`.run_command`; ``prog`` is how the user called it."""
    run_command(build_parser(prog), _load, argv)


def _load():
    from ..finetune import finetune

    return finetune
