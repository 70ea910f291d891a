"""``tinyvim-mm publish``, also ``tools/publish_checkpoint.py``."""

import argparse
from pathlib import Path
from typing import Optional, Sequence

from .. import recipes
from .options import add_cfg_options, add_trust_option
from .run import run_command

_DESCRIPTION = """\
Write the weights of a checkpoint, and the names of its classes, to a .safetensors file, without
optimizer, schedules and counters. Large tensors are rounded to 8 bits with a scale for each output
channel; whatever here reads checkpoints reads such files, in float32."""


def build_parser(prog: str = 'tools/publish_checkpoint.py') -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog=prog, description=_DESCRIPTION)
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='of a training')
    parser.add_argument(
        'output',
        metavar='OUTPUT',
        type=Path,
        help='.safetensors file; or a folder, with the config, for --model of demo and so on',
    )
    parser.add_argument('--config', metavar='CONFIG', help='that it was trained with')
    parser.add_argument(
        '--packed',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='round large tensors to 8 bits (default: yes)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace OUTPUT if it exists')
    add_cfg_options(parser, 'change settings of the config that goes into a folder')
    add_trust_option(parser)
    return parser


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/publish_checkpoint.py') -> None:
    """Run the command, see :func:`.run_command`; ``prog`` is how the user called it."""
    run_command(build_parser(prog), lambda: recipes.publish, argv)
