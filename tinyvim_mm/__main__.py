"""The ``tinyvim-mm`` command, also ``python -m tinyvim_mm``."""

import argparse
import importlib
import sys
from typing import Any, Optional, Sequence

from .commands import COMMANDS
from .commands.run import run_one_of
from .version import __version__


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a command; without one, the doctor.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Returns:
        The exit code.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog='tinyvim-mm', description='TinyViM for OpenMMLab.')
    parser.add_argument('--version', action='version', version=f'tinyvim_mm {__version__}')
    return run_one_of(COMMANDS, _load, parser, argv or ['doctor'])


def _load(name: str) -> Any:
    return importlib.import_module(f'.commands.{name}', __package__).main


if __name__ == '__main__':
    sys.exit(main())
