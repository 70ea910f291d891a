"""Which Python the set-up runs under and makes ``.venv`` from."""

import os
import shutil
import subprocess
import sys
from typing import Optional, Tuple

from .common import PROGRAM, VENV, SetupError

# In order of preference: 3.11 is the version that most checks were made with.
SUPPORTED_PYTHONS = ((3, 11), (3, 12), (3, 10))
THIS_PYTHON = sys.version_info[:2]


def ensure_supported_python(exact: bool) -> None:
    """Go on under a Python that the project supports, or raise.

    Args:
        exact: The user named this Python, so no other one is taken instead.
    """
    if THIS_PYTHON in SUPPORTED_PYTHONS:
        return
    if not exact:
        for command in (str(VENV / 'bin' / 'python'), *map(python_name, SUPPORTED_PYTHONS)):
            path = shutil.which(command)
            if path and python_version(path) in SUPPORTED_PYTHONS:
                sys.stdout.flush()
                os.execv(path, [path, str(PROGRAM), *sys.argv[1:]])
    raise SetupError(
        f'Python 3.10, 3.11 or 3.12 is needed; this is {dotted(THIS_PYTHON)} ({sys.executable})'
        + ('' if exact else ', and no other one is on the PATH')
        + '.\nInstall one of them and name it: make PYTHON=python3.11 demo'
    )


def dotted(version: Tuple[int, int]) -> str:
    """``(3, 11)`` to ``'3.11'``."""
    return '{}.{}'.format(*version)


def python_name(version: Tuple[int, int]) -> str:
    """``(3, 11)`` to ``'python3.11'``."""
    return f'python{dotted(version)}'


def python_version(python: str) -> Optional[Tuple[int, int]]:
    """Version of an interpreter, ``None`` if it does not run (a stale link, a shim)."""
    code = 'import sys; print(*sys.version_info[:2])'
    try:
        output = subprocess.check_output(
            [python, '-I', '-S', '-c', code], stderr=subprocess.DEVNULL, timeout=20
        )
        major, minor = output.split()
        return int(major), int(minor)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def base_python() -> str:
    """The interpreter to make environments from, also if this one lives in ``.venv``."""
    return getattr(sys, '_base_executable', None) or os.path.realpath(sys.executable)
