"""Creates and fills the virtual environment ``.venv`` of this checkout, by uv.

Standard library only, because it runs before anything is installed. ``make
env`` calls it; by hand: ``python3 tools/setup_env --help``. The versions come
from ``tinyvim_mm/core/environment.py``. It may be stopped at any moment and
started again: what is done is recorded in ``.venv/.tinyvim``, and uv keeps what
it has downloaded and built.

All modules keep to the syntax of Python 3.6: an older Python than the project
needs must be able to read them, to look for a newer one or to ask for it.
Each module imports only from those above it in this list:

- ``common``: the folders, the error, commands, one set-up at a time
- ``uv``: finds or fetches uv, and tells it how pip is configured here
- ``interpreter``: which Python
- ``wanted``: what is wanted, and what of it is there
- ``torch_pair``: torch and torchvision that fit each other
- ``mmcv``: mmcv without its operators, with compiled ones, or from a ready wheel
- ``steps``: all steps in order
"""
