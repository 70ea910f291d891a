"""``tinyvim-mm convert``, also ``tools/convert_checkpoint.py``."""

import argparse
from pathlib import Path
from typing import Optional, Sequence

from .. import conversion
from .options import add_trust_option
from .run import run_command

_DESCRIPTION = """\
Turn a checkpoint of a release (of TinyViM or another backbone of this project), for classification,
detection (mmdet 2) or segmentation (mmseg 0), into one of this project, or back with --to released.
Prints what becomes of every key. The tensors stay as they are, bit for bit. Optimizer states and
other things that are not part of the network are left out."""


def build_parser(prog: str = 'tools/convert_checkpoint.py') -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog=prog, description=_DESCRIPTION)
    parser.add_argument('input', metavar='INPUT', help='.pth or .safetensors file')
    parser.add_argument(
        'output', metavar='OUTPUT', type=Path, help='.pth or .safetensors file, by its name'
    )
    parser.add_argument(
        '--to',
        choices=['project', 'released'],
        default='project',
        help='layout of the output (default: %(default)s); that of the input is recognized',
    )
    parser.add_argument(
        '--arch',
        default='auto',
        help="architecture, such as 's' (default: recognized by its widths); 'custom' renames keys "
        'without looking at shapes, for networks that differ from the released ones',
    )
    parser.add_argument(
        '--task',
        choices=['auto', 'classification', 'detection', 'segmentation'],
        default='auto',
        help='what the network does (default: recognized by its heads)',
    )
    parser.add_argument(
        '--keep-unknown',
        action='store_true',
        help='keep keys of no known part under their names; without it they are an error',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='print the account and write nothing'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace OUTPUT if it exists')
    add_trust_option(parser)
    return parser


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/convert_checkpoint.py') -> None:
    """Run the command, see :func:`.run_command`; ``prog`` is how the user called it."""
    run_command(build_parser(prog), lambda: conversion.convert_checkpoint, argv)
