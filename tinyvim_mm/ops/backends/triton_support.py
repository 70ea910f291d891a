"""What keeps Triton from running.

Triton is imported when that is first asked, not with this module.
"""

import functools
import importlib.util
import os
import shutil
import sysconfig
from typing import Optional, Tuple

import torch

from .obstacle import Obstacle, float64_obstacle, not_on_cuda
from .registration import constant_when_traced

_INTERPRETER = 'TRITON_INTERPRET'
# The oldest release for which the kernels are known to compile, and the oldest
# whose interpreter computes them correctly.
_OLDEST = (3, 0)
_OLDEST_INTERPRETER = (3, 2)
_OLDEST_CAPABILITY = 7


@constant_when_traced
def obstacle(device: torch.device, dtype: torch.dtype) -> Optional[Obstacle]:
    """What keeps Triton from computing with such tensors."""
    if device.type not in ('cuda', 'cpu'):
        return not_on_cuda(device)
    wrong_type = float64_obstacle(dtype)
    if wrong_type is not None:
        return wrong_type
    if not _is_installed():
        return Obstacle('triton is not installed', 'pip install triton', ': ')
    if device.type == 'cpu' and os.environ.get(_INTERPRETER) != '1':
        return Obstacle(
            'Triton compiles for GPUs only; on a CPU its slow interpreter can run instead, for '
            'tests',
            f'set {_INTERPRETER}=1 before anything imports triton',
            ': ',
        )
    problem, interpreted = _load_kernels()
    if problem is not None:
        return problem
    if device.type == 'cpu' and not interpreted:
        return Obstacle(
            f'{_INTERPRETER}=1 was set after something had imported triton',
            'set it before Python starts',
        )
    if device.type == 'cuda' and interpreted:
        return Obstacle(
            f'Triton was imported with {_INTERPRETER}=1 and would run in its interpreter',
            'unset that variable and start Python again',
        )
    return _launch_obstacle(device) if device.type == 'cuda' else None


@functools.cache
def _is_installed() -> bool:
    return importlib.util.find_spec('triton') is not None


@functools.cache
def _load_kernels() -> Tuple[Optional[Obstacle], bool]:
    """Import Triton once: what prevents its use, and whether its interpreter is on."""
    try:
        import triton

        release = tuple(int(part) for part in triton.__version__.split('.')[:2])
        if release < _OLDEST:
            return _too_old(triton.__version__, _OLDEST), False
        from .triton_kernels import scan_forward
    except Exception as error:  # noqa: BLE001 - a broken installation is reported as such
        problem = Obstacle(
            f'triton is installed but does not import ({type(error).__name__}: {error})',
            'pip install --force-reinstall triton',
            ': ',
        )
        return problem, False
    # Triton reads the variable at its own import and again for our kernels.
    compiled = [
        isinstance(function, triton.runtime.JITFunction)
        for function in (triton.language.sum, scan_forward)
    ]
    if any(compiled) and not all(compiled):
        reason = f'{_INTERPRETER} changed after triton had been imported'
        return Obstacle(reason, 'start Python again'), False
    interpreted = not any(compiled)
    if interpreted and release < _OLDEST_INTERPRETER:
        return _too_old(triton.__version__, _OLDEST_INTERPRETER), True
    return None, interpreted


@functools.cache
def _launch_obstacle(device: torch.device) -> Optional[Obstacle]:
    """What would make the first launch on a CUDA device fail."""
    if torch.version.hip is None and torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability(device)
        if major < _OLDEST_CAPABILITY:
            return Obstacle(
                f'Triton needs compute capability {_OLDEST_CAPABILITY}.0 or newer, {device} has '
                f'{major}.{minor}',
                "choose 'cuda' or 'parallel'",
            )
    if os.name != 'posix':  # elsewhere Triton brings a compiler
        return None
    if not (os.environ.get('CC') or any(map(shutil.which, ('gcc', 'clang')))):
        return Obstacle(
            'Triton builds its launcher with a C compiler and finds none',
            'install one, for example apt-get install gcc, or name it in the environment variable '
            'CC',
            ': ',
        )
    headers = sysconfig.get_paths()['include']
    if not os.path.exists(os.path.join(headers, 'Python.h')):
        return Obstacle(
            f"Triton builds its launcher with Python's headers, and {headers}/Python.h is missing",
            'install them, for example apt-get install python3-dev',
            ': ',
        )
    return None


def _too_old(version: str, oldest: Tuple[int, int]) -> Obstacle:
    cure = f"pip install 'triton>={oldest[0]}.{oldest[1]}'"
    return Obstacle(f'triton {version} is too old here', cure, ': ')
