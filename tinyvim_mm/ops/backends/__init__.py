"""Which implementations of the scan exist, which work here, and which one runs.

A backend is one module of this package. To add one: write the module with a
``selective_scan`` (and an ``ss2d`` if it fuses more than that) and add a
:class:`Backend` to the table below.
"""

import os
import warnings
from dataclasses import dataclass
from typing import Callable, Dict, Optional, Tuple

import torch

from ...core.environment import with_hint
from . import compiled, mamba_ssm, parallel, reference, triton_scan

#: Overrides the automatic choice for the whole process.
ENVIRONMENT_VARIABLE = 'TINYVIM_SSM_BACKEND'


class BackendUnavailableError(RuntimeError):
    """The requested backend cannot run here; the message says why and the cure.

    Args:
        message: Both of them; a hint at the doctor is added.
    """

    def __init__(self, message: str) -> None:
        super().__init__(with_hint(message))


def _always(device: torch.device, dtype: torch.dtype) -> Optional[str]:
    return None


@dataclass(frozen=True)
class Backend:
    """One implementation of the operators.

    Attributes:
        name: What users call it.
        selective_scan: The 1-D scan on checked arguments.
        ss2d: The 2-D operator on checked arguments.
        obstacle: Tells why it cannot run on a device with a type, and the cure;
            ``None`` when it can.
        takes_any_dtype: Whether it converts its arguments itself; the others are
            given float32 or float64.
    """

    name: str
    selective_scan: Callable
    ss2d: Callable
    obstacle: Callable[[torch.device, torch.dtype], Optional[str]] = _always
    takes_any_dtype: bool = False


BACKENDS: Dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend('cuda', compiled.selective_scan, compiled.ss2d, compiled.cuda_obstacle, True),
        Backend('cpu', compiled.selective_scan, compiled.ss2d, compiled.cpu_obstacle, True),
        Backend('triton', triton_scan.selective_scan, triton_scan.ss2d, triton_scan.obstacle, True),
        Backend('mamba_ssm', mamba_ssm.selective_scan, mamba_ssm.ss2d, mamba_ssm.obstacle),
        Backend('parallel', parallel.selective_scan, parallel.ss2d),
        Backend('reference', reference.selective_scan, reference.ss2d),
    )
}

#: Per device the kernels made for it; the first that can run is taken, without
#: any the parallel form. On a CPU Triton runs in its interpreter, which is for
#: tests only.
KERNELS: Dict[str, Tuple[str, ...]] = {'cuda': ('cuda', 'triton'), 'cpu': ('cpu',)}


def choose_backend(name: Optional[str], x: torch.Tensor) -> Backend:
    """Resolve a backend name for a tensor.

    Args:
        name: A backend's name, ``'auto'``, or ``None`` for the environment
            variable ``TINYVIM_SSM_BACKEND`` and, without it, ``'auto'``.
        x: What shall be scanned.

    Raises:
        ValueError: No backend has that name.
        BackendUnavailableError: It exists but cannot run here.
    """
    source = 'backend'
    if name is None:
        name = _named_by_environment()
        source = ENVIRONMENT_VARIABLE
    if name == 'auto':
        return _automatic(x.device, x.dtype)
    if name not in BACKENDS:
        raise ValueError(
            f'{source}={name!r} is no scan backend; choose one of {", ".join(["auto", *BACKENDS])}'
        )
    obstacle = BACKENDS[name].obstacle(x.device, x.dtype)
    if obstacle is not None:
        raise BackendUnavailableError(f'scan backend {name!r} cannot run here: {obstacle}')
    return BACKENDS[name]


def _named_by_environment() -> str:
    return os.environ.get(ENVIRONMENT_VARIABLE) or 'auto'


# torch 2.4 cannot trace a look at a variable that is not set. This is what
# torch.compiler.assume_constant_result sets, which imports the whole compiler for it.
_named_by_environment._dynamo_marked_constant = True


def available_backends(
    device: str = 'cpu', dtype: torch.dtype = torch.float32
) -> Dict[str, Optional[str]]:
    """For each backend, ``None`` if it runs on ``device``, else why not and the cure."""
    target = torch.device(device)
    return {name: backend.obstacle(target, dtype) for name, backend in BACKENDS.items()}


def describe_choice(x: torch.Tensor, name: Optional[str] = None) -> str:
    """Which backend would scan ``x``, for one line of a log."""
    backend = choose_backend(name, x)
    if backend.name == 'cpu':
        return f'cpu (compiled, {torch.ops.tinyvim_mm.cpu_capability()})'
    return backend.name


def _automatic(device: torch.device, dtype: torch.dtype) -> Backend:
    kernels = KERNELS.get(device.type, ())
    obstacles = []
    for name in kernels:
        obstacle = BACKENDS[name].obstacle(device, dtype)
        if obstacle is None:
            return BACKENDS[name]
        obstacles.append(obstacle)
    # Slow paths are announced; a float64 check or a device without a kernel of
    # its own is no surprise.
    if kernels and dtype != torch.float64:
        _announce_slow_path(kernels[0], obstacles[0])
    return BACKENDS['parallel']


_announced = set()


def _announce_slow_path(name: str, obstacle: str) -> None:
    if name not in _announced:
        _announced.add(name)
        warnings.warn(
            with_hint(
                f'the scan runs in plain PyTorch, which is slower, because the {name!r} backend '
                f'cannot run: {obstacle}'
            ),
            stacklevel=5,
        )
