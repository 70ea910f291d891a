"""The ``tinyvim-mm`` command, also ``python -m tinyvim_mm``."""

import argparse
import importlib
import sys
from typing import Optional, Sequence

from .commands import COMMANDS
from .version import __version__


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a command; without one, the doctor.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Returns:
        The exit code.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    name = argv[0] if argv and not argv[0].startswith('-') else ''
    if name in COMMANDS or not argv:
        name = name or 'doctor'
        command = importlib.import_module(f'.commands.{name}', __package__)
        return command.main(argv[1:], f'tinyvim-mm {name}') or 0
    parser = argparse.ArgumentParser(prog='tinyvim-mm', description='TinyViM for OpenMMLab.')
    parser.add_argument('--version', action='version', version=f'tinyvim_mm {__version__}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    for command, text in COMMANDS.items():
        commands.add_parser(command, help=text, add_help=False)
    parser.parse_args(argv)
    return 0


if __name__ == '__main__':
    sys.exit(main())
