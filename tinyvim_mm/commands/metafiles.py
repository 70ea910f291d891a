"""``tinyvim-mm metafiles``, also ``tools/update_metafiles.py``."""

import argparse
from typing import Optional, Sequence

from ..recipes import metafiles
from .run import run_command


def build_parser(prog: str = 'tools/update_metafiles.py') -> argparse.ArgumentParser:
    """The only option is ``--check``."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description='Compute the numbers in configs/*/metafile.yml from the configs, give configs '
        "without an entry one, list the metafiles in model-index.yml, and write the README's table "
        'of the recipes.',
    )
    parser.add_argument(
        '--check', action='store_true', help='write nothing; exit with 2 if something would change'
    )
    return parser


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/update_metafiles.py') -> None:
    """Run the command.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.
        prog: How the user called it.

    Raises:
        SystemExit: With code 2 after an error, or if ``--check`` finds differences.
    """
    run_command(build_parser(prog), lambda: metafiles.update, argv)
