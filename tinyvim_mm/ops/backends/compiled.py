"""The compiled operators: loading them, and what torch must know of them.

The library registers ``torch.ops.tinyvim_mm.{ss2d,selective_scan}`` and their
backwards for CPU and, when built with CUDA, for GPUs. Here they get fake
kernels (shapes without data, for ``torch.compile`` and ``torch.export``) and
autograd formulas.
"""

import re
from pathlib import Path
from typing import Any, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..scan_paths import ScanPath

_BUILD = 'pip install --no-build-isolation --no-deps -e .'
_PACKAGE = Path(__file__).resolve().parents[2]


def _load_library() -> Optional[str]:
    """Load the compiled operators; tell why they are not usable, and the cure."""
    libraries = sorted(_PACKAGE.glob('_C*.so'))
    if not libraries:
        return (
            'the operators were not compiled when the package was installed; in a clone, with '
            f'torch and a C++ compiler installed: {_BUILD}'
        )
    try:
        torch.ops.load_library(str(libraries[0]))
    except OSError as error:
        built = re.search(rb'operators for torch ([\w.+]+)', libraries[0].read_bytes())
        return (
            f'{libraries[0].name} was compiled for torch {built[1].decode() if built else "?"} and '
            f'does not load with torch {torch.__version__} ({str(error).splitlines()[0]}); '
            f'compile it again: {_BUILD}'
        )
    _register()
    return None


def cpu_obstacle(device: torch.device, dtype: torch.dtype) -> Optional[str]:
    """Why the CPU kernels cannot take such tensors, and the cure."""
    if device.type != 'cpu':
        return f'it computes on the CPU; move the tensors there or choose another for {device.type}'
    return LIBRARY_PROBLEM or _precision_obstacle(dtype)


def cuda_obstacle(device: torch.device, dtype: torch.dtype) -> Optional[str]:
    """Why the CUDA kernels cannot take such tensors, and the cure."""
    if device.type != 'cuda':
        return f'it computes on CUDA devices; the tensors are on {device.type}'
    if LIBRARY_PROBLEM is not None:
        return LIBRARY_PROBLEM
    if not HAS_CUDA_KERNELS:
        return (
            'the operators were compiled without CUDA; install the CUDA toolkit (nvcc) and run '
            f'FORCE_CUDA=1 {_BUILD}'
        )
    return _precision_obstacle(dtype)


def _precision_obstacle(dtype: torch.dtype) -> Optional[str]:
    if dtype == torch.float64:
        return "it computes in float32; for float64 choose 'parallel' or 'reference'"
    return None


def ss2d(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    paths: Sequence[ScanPath],
) -> Tensor:
    """See :func:`tinyvim_mm.ops.ss2d`."""
    codes = [path.code() for path in paths]
    return _operators()[0](x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds, codes)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Optional[Tensor],
    delta_bias: Optional[Tensor],
    delta_softplus: bool,
) -> Tuple[Tensor, Tensor]:
    """See :func:`.reference.selective_scan`."""
    return _operators()[1](u, delta, A, B, C, D, delta_bias, delta_softplus)


# ----------------------------------------------------------------------------
# Registration
# ----------------------------------------------------------------------------


def _operators() -> Tuple[Any, Any]:
    if hasattr(torch.library, 'register_autograd'):
        return torch.ops.tinyvim_mm.ss2d, torch.ops.tinyvim_mm.selective_scan
    return _EagerSS2D.apply, _EagerScan.apply


def _register() -> None:
    # torch 2.4 has all three functions; before, the operators run eagerly only.
    if not hasattr(torch.library, 'register_autograd'):
        return
    fake = torch.library.register_fake
    fake('tinyvim_mm::ss2d')(_fake_ss2d)
    fake('tinyvim_mm::ss2d_backward')(_fake_ss2d_backward)
    fake('tinyvim_mm::selective_scan')(_fake_scan)
    fake('tinyvim_mm::selective_scan_backward')(_fake_scan_backward)
    torch.library.register_autograd('tinyvim_mm::ss2d', _ss2d_backward, setup_context=_ss2d_setup)
    torch.library.register_autograd(
        'tinyvim_mm::selective_scan', _scan_backward, setup_context=_scan_setup
    )


def _fake_ss2d(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


def _fake_ss2d_backward(grad_y: Tensor, x: Tensor, *arguments: Any) -> Tuple[Tensor, ...]:
    weights = arguments[:-1]
    return (_fake_ss2d(x), *(torch.empty_like(w, memory_format=_CONTIGUOUS) for w in weights))


def _fake_scan(u: Tensor, delta: Tensor, A: Tensor, *_: Any) -> Tuple[Tensor, Tensor]:
    state = u.new_empty(u.shape[0], u.shape[1], A.shape[1], dtype=torch.float32)
    return torch.empty_like(u, memory_format=_CONTIGUOUS), state


def _fake_scan_backward(
    grad_y: Tensor, grad_state: Optional[Tensor], *arguments: Any
) -> Tuple[Tensor, ...]:
    return tuple(
        arguments[0].new_empty(0, dtype=torch.float32)
        if tensor is None
        else torch.empty_like(tensor, memory_format=_CONTIGUOUS)
        for tensor in arguments[:-1]
    )


_CONTIGUOUS = torch.contiguous_format


def _ss2d_setup(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.paths = inputs
    ctx.save_for_backward(*tensors)


def _ss2d_backward(ctx: Any, grad_y: Tensor) -> Tuple[Optional[Tensor], ...]:
    gradients = torch.ops.tinyvim_mm.ss2d_backward(grad_y, *ctx.saved_tensors, ctx.paths)
    return (*gradients, None)


def _scan_setup(ctx: Any, inputs: Tuple[Any, ...], output: Tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.softplus = inputs
    ctx.save_for_backward(*tensors)


def _scan_backward(
    ctx: Any, grad_y: Optional[Tensor], grad_state: Optional[Tensor]
) -> Tuple[Optional[Tensor], ...]:
    tensors = ctx.saved_tensors
    if grad_y is None:
        grad_y = torch.zeros_like(tensors[0])
    gradients = torch.ops.tinyvim_mm.selective_scan_backward(
        grad_y, grad_state, *tensors, ctx.softplus
    )
    present = (g if t is not None else None for g, t in zip(gradients, tensors, strict=True))
    return (*present, None)


class _EagerSS2D(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        output = torch.ops.tinyvim_mm.ss2d(*inputs)
        _ss2d_setup(ctx, inputs, output)
        return output

    backward = staticmethod(_ss2d_backward)


class _EagerScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tuple[Tensor, Tensor]:
        output = torch.ops.tinyvim_mm.selective_scan(*inputs)
        _scan_setup(ctx, inputs, output)
        return output

    backward = staticmethod(_scan_backward)


#: Why the compiled operators are not usable, ``None`` if they are. Decided when
#: the module is imported: torch.compile cannot trace the loading of a library.
LIBRARY_PROBLEM = _load_library()
#: Whether they were compiled for CUDA.
HAS_CUDA_KERNELS = LIBRARY_PROBLEM is None and bool(
    torch._C._dispatch_has_kernel_for_dispatch_key('tinyvim_mm::ss2d', 'CUDA')
)
