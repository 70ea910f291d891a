"""Creates and fills the virtual environment ``.venv`` of this checkout.

Standard library only, because it runs before anything is installed. ``make
env`` calls it; by hand: ``python3 tools/setup_env --help``.

Every step leaves a stamp in ``.venv/.tinyvim`` after it succeeded, so the
script may be stopped at any moment and started again. The versions come from
``tinyvim_mm/environment.py``. What took long to build is kept in ``.cache``.

All modules keep to the syntax of Python 3.6: an older Python than the project
needs must be able to read them, to look for a newer one or to ask for it.
Each module imports only from those above it in this list:

- ``common``: the folders, the error
- ``progress``: what a person sees of a step at work
- ``state``: stamps, hashes, names of packages
- ``lock``: one set-up at a time
- ``processes``: commands
- ``interpreter``: which Python
- ``machine``: GPU, CUDA, compilers, disk
- ``setup``: what is wanted, what is there, and how steps act on it
- ``venv_folder``, ``torch_build``, ``mmcv_wheel``: what is made, part by part
- ``steps``: all steps in order
- ``plan``: which steps are to be done, and doing them
- ``cli``: the command line
"""
