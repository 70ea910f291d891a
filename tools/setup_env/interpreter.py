"""Which Python the set-up runs under and makes ``.venv`` from."""

import os
import re
import sys
from typing import Optional, Tuple

from .common import PROGRAM, VENV, SetupError, ask
from .uv import Uv

OLDEST, NEWEST = (3, 10), (3, 14)
NAMES = 'Python {}.{} to {}.{}'.format(*OLDEST, *NEWEST)
VENV_PYTHON = str(VENV / 'bin' / 'python')


def ensure_supported_python(named: Optional[str]) -> None:
    """Go on under a Python that the project supports, or raise.

    Args:
        named: The Python that the user asks for, if any. No other one is taken instead.
    """
    if named and not supported(python_version(named)):
        found = python_version(named)
        raise SetupError(
            f'{NAMES} is needed; {named} is {dotted(found)}' if found
            else f'{NAMES} is needed, and {named} does not run'
        )  # fmt: skip
    if supported(sys.version_info[:2]):
        return
    python = VENV_PYTHON
    if not supported(python_version(python)):
        uv = Uv()
        request = '>={}.{},<{}.{}'.format(*OLDEST, NEWEST[0], NEWEST[1] + 1)
        done, python, _ = ask([uv.path, 'python', 'find', request], uv.variables)
        if not done:
            raise SetupError(
                f'{NAMES} is needed; this is {dotted(sys.version_info[:2])} ({sys.executable}), '
                'and no other one is on the PATH.\nInstall one and name it: '
                f'make PYTHON=python3.12 demo. Or, where GitHub can be reached: {uv.path} python '
                'install 3.12'
            )
    sys.stdout.flush()
    os.execv(python.strip(), [python.strip(), str(PROGRAM), *sys.argv[1:]])


def supported(version: Optional[Tuple[int, int]]) -> bool:
    """Whether the project runs under a version."""
    return version is not None and OLDEST <= version <= NEWEST


def dotted(version: Tuple[int, int]) -> str:
    """``(3, 11)`` to ``'3.11'``."""
    return '{}.{}'.format(*version)


def python_version(python: str) -> Optional[Tuple[int, int]]:
    """Version of an interpreter or in a request such as ``3.13``; ``None`` if it does not run."""
    request = re.match(r'(\d+)\.(\d+)(\.\d+)?$', python)
    if request:
        return int(request.group(1)), int(request.group(2))
    code = 'import sys; print(*sys.version_info[:2])'
    words = ask([python, '-I', '-S', '-c', code], timeout=20)[1].split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else None


def base_python() -> str:
    """The interpreter to make environments from, also if this one lives in ``.venv``."""
    return getattr(sys, '_base_executable', None) or os.path.realpath(sys.executable)
