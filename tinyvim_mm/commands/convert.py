"""Conversion of checkpoints: what stands behind ``tools/convert_checkpoint.py``."""

import argparse
from pathlib import Path
from typing import Optional, Sequence

from ..core.errors import UsageError
from .options import add_trust_option
from .run import run_command

_DESCRIPTION = """\
Turn a checkpoint of a release (of TinyViM or another backbone of this project), for classification,
detection (mmdet 2) or segmentation (mmseg 0), into one of this project, or back with --to released.
Prints what becomes of every key. The tensors stay as they are, bit for bit. Optimizer states and
other things that are not part of the network are left out."""


def build_parser() -> argparse.ArgumentParser:
    """Options of ``tools/convert_checkpoint.py``."""
    parser = argparse.ArgumentParser(prog='tools/convert_checkpoint.py', description=_DESCRIPTION)
    parser.add_argument('input', metavar='INPUT', type=Path, help='.pth or .safetensors file')
    parser.add_argument(
        'output', metavar='OUTPUT', type=Path, help='.pth or .safetensors file, by its name'
    )
    parser.add_argument(
        '--to',
        choices=['project', 'released'],
        default='project',
        help='layout of the output (default: %(default)s); that of the input is recognised',
    )
    parser.add_argument(
        '--arch',
        default='auto',
        help="architecture, such as 's' (default: recognised by its widths); 'custom' renames keys "
        'without looking at shapes, for networks that differ from the released ones',
    )
    parser.add_argument(
        '--task',
        choices=['auto', 'classification', 'detection', 'segmentation'],
        default='auto',
        help='what the network does (default: recognised by its heads)',
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


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/convert_checkpoint.py``.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Raises:
        SystemExit: With code 2 after an error in the command or the file.
    """
    run_command(build_parser(), convert, argv)


def convert(args: argparse.Namespace) -> None:
    """Convert one file.

    Args:
        args: Parsed by :func:`build_parser`.

    Raises:
        UsageError: Something about the two paths is wrong.
        CheckpointError: The file cannot be converted; the message says why.
    """
    from ..conversion.layouts import convert_file
    from ..conversion.result import save

    if not args.dry_run:
        _check_output(args)
    try:
        conversion = convert_file(
            args.input.expanduser(),
            trust=args.trust_checkpoint,
            to=args.to,
            arch=args.arch,
            task=args.task,
            keep_unknown=args.keep_unknown,
        )
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    print(conversion.account())
    print(conversion.summary())
    if conversion.source_layout == args.to:
        print(f'The input was in the {args.to} layout already: its keys stay.')
    if args.dry_run:
        print('Nothing was written (--dry-run).')
        return
    try:
        save(conversion, args.output)
    except OSError as error:
        raise UsageError(f'{args.output} cannot be written: {error}') from error
    print(f'Written: {args.output}')


def _check_output(args: argparse.Namespace) -> None:
    """Find what would stop the writing before the input is read."""
    from ..conversion.result import SUFFIXES
    from ..weights import safetensors_file

    args.output = args.output.expanduser()
    if args.output.suffix not in SUFFIXES:
        raise UsageError(f'{args.output} must end in one of {", ".join(SUFFIXES)}')
    if not args.output.parent.is_dir():
        raise UsageError(f'the folder {args.output.parent} of the output does not exist; make it')
    if args.output.exists() and not args.overwrite:
        raise UsageError(f'{args.output} exists; choose another name or give --overwrite')
    if args.output.suffix == safetensors_file.SUFFIX:
        try:
            safetensors_file.require()
        except safetensors_file.MissingError as error:
            raise UsageError(str(error)) from error
