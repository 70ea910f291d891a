"""The ``tinyvim-mm`` command, also ``python -m tinyvim_mm``."""

import argparse
import sys
from typing import Optional, Sequence

from .doctor import command as doctor
from .version import __version__


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a command; without one, the doctor.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog='tinyvim-mm', description='TinyViM for OpenMMLab.')
    parser.add_argument('--version', action='version', version=f'tinyvim_mm {__version__}')
    commands = parser.add_subparsers(title='commands')
    examination = commands.add_parser(
        'doctor',
        help='check the installation: packages, torch and CUDA, compiled operators, the scan',
        description='Check the installation and print the cure of each fault; ends with code 1 '
        'if there is one.',
    )
    doctor.add_options(examination)
    parser.set_defaults(run=doctor.run, json=False)
    args = parser.parse_args(argv)
    return args.run(args)


if __name__ == '__main__':
    sys.exit(main())
