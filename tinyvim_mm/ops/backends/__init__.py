"""Which implementations of the scan exist, which work here, and which one runs.

A backend is one module of this package. To add one: write the module with a
``selective_scan`` (and an ``ss2d`` if it fuses more than that) and add a
:class:`Backend` to the table below.
"""

import os
from dataclasses import dataclass
from typing import Callable, Dict, Optional, Tuple

import torch

from . import parallel, reference

#: Overrides the automatic choice for the whole process.
ENVIRONMENT_VARIABLE = 'TINYVIM_SSM_BACKEND'


class BackendUnavailableError(RuntimeError):
    """The requested backend cannot run here; the message says why and the cure."""


def _always(device: torch.device) -> Optional[str]:
    return None


@dataclass(frozen=True)
class Backend:
    """One implementation of the operators.

    Attributes:
        name: What users call it.
        selective_scan: The 1-D scan on checked arguments.
        ss2d: The 2-D operator on checked arguments.
        obstacle: Tells why it cannot run on a device, and the cure; ``None``
            when it can.
    """

    name: str
    selective_scan: Callable
    ss2d: Callable
    obstacle: Callable[[torch.device], Optional[str]] = _always


BACKENDS: Dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend('parallel', parallel.selective_scan, parallel.ss2d),
        Backend('reference', reference.selective_scan, reference.ss2d),
    )
}

# The first that can run is taken; the reference is for checking only.
_AUTOMATIC_ORDER: Tuple[str, ...] = ('parallel',)


def choose_backend(name: Optional[str], device: torch.device) -> Backend:
    """Resolve a backend name for tensors on ``device``.

    Args:
        name: A backend's name, ``'auto'``, or ``None`` for the environment
            variable ``TINYVIM_SSM_BACKEND`` and, without it, ``'auto'``.
        device: Where the tensors live.

    Raises:
        ValueError: No backend has that name.
        BackendUnavailableError: It exists but cannot run here.
    """
    source = 'backend'
    if name is None:
        name = os.environ.get(ENVIRONMENT_VARIABLE) or 'auto'
        source = ENVIRONMENT_VARIABLE
    if name == 'auto':
        for candidate in _AUTOMATIC_ORDER:
            if BACKENDS[candidate].obstacle(device) is None:
                return BACKENDS[candidate]
    if name not in BACKENDS:
        raise ValueError(
            f'{source}={name!r} is no scan backend; choose one of {", ".join(["auto", *BACKENDS])}'
        )
    obstacle = BACKENDS[name].obstacle(device)
    if obstacle is not None:
        raise BackendUnavailableError(f'scan backend {name!r} cannot run on {device}: {obstacle}')
    return BACKENDS[name]


def available_backends(device: str = 'cpu') -> Dict[str, Optional[str]]:
    """For each backend, ``None`` if it runs on ``device``, else why not."""
    target = torch.device(device)
    return {name: backend.obstacle(target) for name, backend in BACKENDS.items()}
