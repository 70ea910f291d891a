"""What every tool here does: call ``main`` of a module of the package."""

import importlib


def start(module: str) -> None:
    """Call ``main`` of a module, or say how to install the package."""
    try:
        main = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        if error.name != 'tinyvim_mm':
            raise
        raise SystemExit(
            'tinyvim_mm is not installed in this Python: run `make env` in the clone and use '
            '.venv/bin/python, or `pip install --no-build-isolation -e .` in your own environment.'
        ) from None
    main()
