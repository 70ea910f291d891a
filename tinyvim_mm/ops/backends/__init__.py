"""Which implementations of the scan exist, which work here, and which one runs.

A backend is one module of this package. To add one: write the module with a
``recurrence`` if it is a kernel, else with a ``selective_scan`` (and an ``ss2d`` if it
fuses more than that), and add a :class:`Backend` to the table below.
"""

import os
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, Optional, Tuple

import torch

from ...core.environment import with_hint
from .. import rows
from ..tracing import is_transformed
from . import compiled, exportable, mamba_ssm, parallel, reference, triton_scan, triton_support
from .obstacle import BackendUnavailableError, Obstacle
from .registration import constant_when_traced

__all__ = [
    'BACKENDS',
    'ENVIRONMENT_VARIABLE',
    'KERNELS',
    'Backend',
    'BackendUnavailableError',
    'Obstacle',
    'available_backends',
    'choose_backend',
    'describe_choice',
]

#: Overrides the automatic choice for the whole process.
ENVIRONMENT_VARIABLE = 'TINYVIM_SSM_BACKEND'


def _no_obstacle(device: torch.device, dtype: torch.dtype) -> Optional[Obstacle]:
    return None


@dataclass(frozen=True)
class Backend:
    """One implementation of the operators.

    Attributes:
        name: What users call it.
        recurrence: What a kernel computes, see :func:`.registration.register`. Both
            operators are made of it by :mod:`tinyvim_mm.ops.rows`, for all floating types
            but float64.
        selective_scan: Or else the 1-D scan, with the arguments of
            :func:`.reference.selective_scan`, which the public operator has checked and
            converted to float32 (float64 for float64).
        ss2d: The 2-D operator along :class:`ScanPath` objects, likewise. ``None`` if the
            backend has none of its own; SS2D is then composed of its 1-D scan.
        obstacle: Given a device and a type of tensors, returns what keeps the backend
            from computing with them, or ``None`` if nothing does.
        transforms: Whether ``torch.func`` and forward-mode differentiation see through it.
    """

    name: str
    recurrence: Optional[rows.Recurrence] = None
    selective_scan: Optional[Callable] = None
    ss2d: Optional[Callable] = None
    obstacle: Callable[[torch.device, torch.dtype], Optional[Obstacle]] = _no_obstacle
    transforms: bool = True


def kernel_backend(
    name: str,
    recurrence: rows.Recurrence,
    obstacle: Callable[[torch.device, torch.dtype], Optional[Obstacle]] = _no_obstacle,
) -> Backend:
    """A backend that computes the recurrence in a kernel, which no transform sees through."""
    return Backend(name, recurrence, obstacle=obstacle, transforms=False)


BACKENDS: Dict[str, Backend] = {
    backend.name: backend
    for backend in (
        kernel_backend('cuda', compiled.recurrence, compiled.cuda_obstacle),
        kernel_backend('cpu', compiled.recurrence, compiled.cpu_obstacle),
        kernel_backend('triton', triton_scan.recurrence, triton_support.obstacle),
        Backend(
            'mamba_ssm',
            selective_scan=mamba_ssm.selective_scan,
            obstacle=mamba_ssm.obstacle,
            transforms=False,
        ),
        Backend('parallel', selective_scan=parallel.selective_scan),
        Backend('reference', selective_scan=reference.selective_scan),
        Backend('exportable', selective_scan=exportable.selective_scan, ss2d=exportable.ss2d),
        Backend(
            'exportable_any_size',
            selective_scan=partial(exportable.selective_scan, any_size=True),
            ss2d=partial(exportable.ss2d, any_size=True),
        ),
    )
}

#: For each type of device the kernels made for it, the fastest first. The automatic
#: choice is the first that can run, and 'parallel' if none can or a device is not
#: listed. Triton is not listed for CPUs: there only its interpreter runs, for tests.
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
        return _automatic(x)
    _check_name(name, source)
    obstacle = _obstacle(BACKENDS[name], x)
    if obstacle is not None:
        raise BackendUnavailableError(name, obstacle)
    return BACKENDS[name]


def check_environment() -> None:
    """Raise ``ValueError`` if ``TINYVIM_SSM_BACKEND`` names no backend."""
    _check_name(_named_by_environment(), ENVIRONMENT_VARIABLE)


def _check_name(name: str, source: str) -> None:
    if name not in ('auto', *BACKENDS):
        raise ValueError(
            f'{source}={name!r} is no scan backend; choose one of {", ".join(["auto", *BACKENDS])}'
        )


# A constant, because torch.compile may not be able to trace how it is made.
_TRANSFORMED = Obstacle(
    'its kernels have no rule for torch.func (jvp, vmap, ...) and forward-mode differentiation',
    "choose 'parallel'",
)


def _obstacle(backend: Backend, x: torch.Tensor) -> Optional[Obstacle]:
    if not backend.transforms and is_transformed():
        return _TRANSFORMED
    return backend.obstacle(x.device, x.dtype)


@constant_when_traced  # torch 2.4 cannot trace a look at a variable that is not set
def _named_by_environment() -> str:
    return os.environ.get(ENVIRONMENT_VARIABLE) or 'auto'


def available_backends(
    device: str = 'cpu', dtype: torch.dtype = torch.float32
) -> Dict[str, Optional[Obstacle]]:
    """For each backend, ``None`` if it runs on ``device``, else what keeps it from that."""
    target = torch.device(device)
    return {name: backend.obstacle(target, dtype) for name, backend in BACKENDS.items()}


def describe_choice(x: torch.Tensor, name: Optional[str] = None) -> str:
    """Which backend would scan ``x``, for one line of a log."""
    backend = choose_backend(name, x)
    if backend.name == 'cpu':
        return f'cpu (compiled, {torch.ops.tinyvim_mm.cpu_capability()})'
    return backend.name


def _automatic(x: torch.Tensor) -> Backend:
    kernels = KERNELS.get(x.device.type, ())
    for name in kernels:
        if _obstacle(BACKENDS[name], x) is None:
            return BACKENDS[name]
    # Slow paths are announced; a float64 check or a device without a kernel of
    # its own is no surprise.
    if kernels and x.dtype != torch.float64:
        _announce_slow_path(kernels[0], _obstacle(BACKENDS[kernels[0]], x))
    return BACKENDS['parallel']


_announced = set()


@constant_when_traced
def _announce_slow_path(name: str, obstacle: Obstacle) -> None:
    if obstacle not in _announced:
        _announced.add(obstacle)
        warnings.warn(
            with_hint(
                f'the scan runs in plain PyTorch, which is slower, because the {name!r} backend '
                f'cannot run: {obstacle}'
            ),
            stacklevel=5,
        )
