"""Gradients and shapes for operators whose kernels torch cannot trace.

``torch.ops`` holds the same four operators twice, in two namespaces: compiled
from C++ (``kernels/csrc/pytorch/ops.cpp``) and written in Triton. To torch a
kernel is a black box. :func:`register` tells it the two things that it needs:

- fake kernels, which ``torch.compile`` and ``torch.export`` call in place of the
  real ones: they compute no values, only the shape, type and memory layout of
  each result. The real kernels must return exactly those layouts.
- the backward of each operator, which calls ``ss2d_backward`` or
  ``selective_scan_backward``.
"""

from typing import Any, Callable, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

_CONTIGUOUS = torch.contiguous_format


class Operators(NamedTuple):
    """The operators of one namespace that have gradients."""

    ss2d: Callable[..., Tensor]
    selective_scan: Callable[..., Tuple[Tensor, Tensor]]


def constant_when_traced(function: Callable) -> Callable:
    """Let ``torch.compile`` call a function while it traces, and keep the result.

    This decorator is for functions that import or look for packages, which cannot
    be traced; their arguments may be no tensors. It does what
    ``torch.compiler.assume_constant_result`` does without importing
    ``torch._dynamo``, which takes a second and imports Triton.
    """
    function._dynamo_marked_constant = True
    return function


def register(namespace: str) -> Operators:
    """Add fake kernels and backwards to the operators of a namespace.

    Args:
        namespace: Of ``torch.ops``. Its operators ``ss2d``, ``ss2d_backward``,
            ``selective_scan`` and ``selective_scan_backward`` must be defined already.

    Returns:
        The two operators to call. Before torch 2.4, which brought the functions
        that register, they have gradients, but ``torch.compile`` cannot trace them.
    """
    library = getattr(torch.ops, namespace)
    ss2d_backward = _ss2d_backward(library.ss2d_backward)
    scan_backward = _scan_backward(library.selective_scan_backward)
    if not hasattr(torch.library, 'register_autograd'):
        return Operators(
            _differentiable(library.ss2d, _ss2d_setup, ss2d_backward),
            _differentiable(library.selective_scan, _scan_setup, scan_backward),
        )
    fake, autograd = torch.library.register_fake, torch.library.register_autograd
    fake(f'{namespace}::ss2d')(_fake_ss2d)
    fake(f'{namespace}::ss2d_backward')(_fake_ss2d_backward)
    fake(f'{namespace}::selective_scan')(_fake_scan)
    fake(f'{namespace}::selective_scan_backward')(_fake_scan_backward)
    autograd(f'{namespace}::ss2d', ss2d_backward, setup_context=_ss2d_setup)
    autograd(f'{namespace}::selective_scan', scan_backward, setup_context=_scan_setup)
    return Operators(library.ss2d, library.selective_scan)


# ----------------------------------------------------------------------------
# Fake kernels
# ----------------------------------------------------------------------------


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


# ----------------------------------------------------------------------------
# Autograd
# ----------------------------------------------------------------------------


def _ss2d_setup(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.paths = inputs
    ctx.save_for_backward(*tensors)


def _ss2d_backward(operator: Callable[..., Tuple[Tensor, ...]]) -> Callable:
    def backward(ctx: Any, grad_y: Tensor) -> Tuple[Optional[Tensor], ...]:
        return (*operator(grad_y, *ctx.saved_tensors, ctx.paths), None)

    return backward


def _scan_setup(ctx: Any, inputs: Tuple[Any, ...], output: Tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.softplus = inputs
    ctx.save_for_backward(*tensors)


def _scan_backward(operator: Callable[..., Tuple[Tensor, ...]]) -> Callable:
    def backward(
        ctx: Any, grad_y: Optional[Tensor], grad_state: Optional[Tensor]
    ) -> Tuple[Optional[Tensor], ...]:
        tensors = ctx.saved_tensors
        if grad_y is None:
            grad_y = torch.zeros_like(tensors[0])
        gradients = operator(grad_y, grad_state, *tensors, ctx.softplus)
        present = (g if t is not None else None for g, t in zip(gradients, tensors, strict=True))
        return (*present, None)

    return backward


def _differentiable(operator: Callable, setup: Callable, backward: Callable) -> Callable:
    """The operator with autograd for torch before 2.4."""

    class Eager(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            output = operator(*inputs)
            setup(ctx, inputs, output)
            return output

    Eager.backward = staticmethod(backward)

    def differentiable(*inputs: Any) -> Any:
        wanted = (isinstance(t, Tensor) and t.requires_grad for t in inputs)
        if torch.is_grad_enabled() and any(wanted):
            return Eager.apply(*inputs)
        return operator(*inputs)  # which tracers can see

    return differentiable
