"""What every tool here does: run a command of the package."""

import importlib
import sys


def start(caller: str, command: str, function: str = 'main') -> None:
    """Run a command, or say how to install the package.

    Args:
        caller: ``__name__`` of the tool; processes that it spawns import it again, which
            must not run it again.
        command: A module of ``tinyvim_mm.commands``.
        function: What to call in it.
    """
    if caller != '__main__':
        return
    try:
        module = importlib.import_module(f'tinyvim_mm.commands.{command}')
    except ModuleNotFoundError as error:
        if error.name != 'tinyvim_mm':
            raise
        raise SystemExit(
            'tinyvim_mm is not installed in this Python: run `make env` in the clone and use '
            '.venv/bin/python, or `pip install --no-build-isolation -e .` in your own environment.'
        ) from None
    except KeyboardInterrupt:  # later ones are the command's to report
        print('interrupted', file=sys.stderr)
        raise SystemExit(130) from None
    getattr(module, function)()
