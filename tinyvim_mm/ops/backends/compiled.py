"""The compiled operators.

The library registers ``torch.ops.tinyvim_mm.scan`` and ``scan_backward`` for CPU and,
when built with CUDA, for GPUs; ``registration.py`` adds what torch must know of them.
"""

import re
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

import torch
from torch import Tensor

from .obstacle import Obstacle, float64_obstacle, not_on_cuda
from .registration import register

#: Of the operators in ``torch.ops``.
NAMESPACE = 'tinyvim_mm'
#: Compiles the operators anew, in a clone.
BUILD = 'pip install --no-build-isolation --no-deps -e .'
_PACKAGE = Path(__file__).resolve().parents[2]
_recurrence: Optional[Callable[..., Tuple[Tensor, Tensor]]] = None  # once it is loaded


def libraries() -> List[Path]:
    """Compiled files in the package; the first is loaded."""
    return sorted(_PACKAGE.glob('_C*.so'))


def _load_library() -> Optional[Obstacle]:
    """Load the compiled operators; what keeps them from being used."""
    found = libraries()
    if not found:
        return Obstacle(
            'the operators were not compiled when the package was installed; in a clone, with '
            'torch and a C++ compiler installed',
            BUILD,
            ': ',
        )
    try:
        torch.ops.load_library(str(found[0]))
    except OSError as error:
        built = re.search(rb'operators for torch ([\w.+]+)', found[0].read_bytes())
        return Obstacle(
            f'{found[0].name} was compiled for torch {built[1].decode() if built else "?"} and '
            f'does not load with torch {torch.__version__} ({str(error).splitlines()[0]}); '
            'compile it again',
            BUILD,
            ': ',
        )
    global _recurrence
    _recurrence = register(NAMESPACE)
    return None


def cpu_obstacle(device: torch.device, dtype: torch.dtype) -> Optional[Obstacle]:
    """What keeps the CPU kernels from computing with such tensors."""
    if device.type != 'cpu':
        return Obstacle(
            'it computes on the CPU',
            f'move the tensors there or choose another for {device.type}',
        )
    return float64_obstacle(dtype) if LIBRARY_PROBLEM is None else LIBRARY_PROBLEM


def cuda_obstacle(device: torch.device, dtype: torch.dtype) -> Optional[Obstacle]:
    """What keeps the CUDA kernels from computing with such tensors."""
    if device.type != 'cuda':
        return not_on_cuda(device)
    if LIBRARY_PROBLEM is not None:
        return LIBRARY_PROBLEM
    return float64_obstacle(dtype) if HAS_CUDA_KERNELS else _NO_CUDA_KERNELS


def recurrence(*arguments: Any) -> Tuple[Tensor, Tensor]:
    """See :func:`.registration.register`."""
    return _recurrence(*arguments)


_NO_CUDA_KERNELS = Obstacle(
    'the operators were compiled without CUDA',
    f'install the CUDA toolkit (nvcc) and run FORCE_CUDA=1 {BUILD}',
)
#: What keeps the compiled operators from being used, ``None`` if nothing does. Found out
#: when the module is imported: torch.compile cannot trace the loading of a library.
LIBRARY_PROBLEM = _load_library()
#: Whether they were compiled for CUDA.
HAS_CUDA_KERNELS = LIBRARY_PROBLEM is None and bool(
    torch._C._dispatch_has_kernel_for_dispatch_key(f'{NAMESPACE}::scan', 'CUDA')
)
