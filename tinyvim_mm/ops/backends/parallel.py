"""The scan in plain PyTorch, vectorized over everything but the recurrence.

The recurrence ``h_t = a_t * h_{t-1} + b_t`` has two forms. On a CPU one fused
multiply-add per position, written in place, is fastest. On an accelerator, and
wherever the program is being traced, recursive doubling is taken: it needs
``ceil(log2(L))`` steps made of pad, slice, multiply and add only.
"""

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..tracing import is_compiling, is_traced, is_transformed


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
    """See :func:`.reference.selective_scan`, whose arguments and results these are."""
    batch, dim, length = u.shape
    groups, N = B.shape[1:3]
    per_group = dim // groups
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)

    # Time first, so that each step of the recurrence reads contiguous memory:
    # (L, batch, groups, channels of a group, N).
    shape = (length, batch, groups, per_group, 1)
    dt = delta.permute(2, 0, 1).reshape(shape)
    dt_u = (delta * u).permute(2, 0, 1).reshape(shape)
    decay = torch.exp(dt * A.view(groups, per_group, N))
    drive = dt_u * B.permute(3, 0, 1, 2).unsqueeze(3)
    h = linear_recurrence(decay, drive)
    y = torch.matmul(h, C.permute(3, 0, 1, 2).unsqueeze(-1))
    y = y.reshape(length, batch, dim).permute(1, 2, 0)
    if D is not None:
        y = y + D[:, None] * u
    return y, h[-1].reshape(batch, dim, N)


def linear_recurrence(a: Tensor, b: Tensor) -> Tensor:
    """Solve ``h_t = a_t * h_{t-1} + b_t`` along the first axis with ``h_{-1} = 0``.

    Differentiable any number of times: the derivative of a linear recurrence is
    the same recurrence run backwards.

    Args:
        a: ``(L, ...)``.
        b: ``(L, ...)``, same shape.

    Returns:
        ``h`` of the same shape.
    """
    return _solve(a, b, reverse=False)


def _solve(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    # What traces, transforms or batches gradients wants plain operators.
    batched = torch._C._functorch.is_legacy_batchedtensor
    if is_traced() or is_transformed() or (not is_compiling() and batched(b)):
        return _doubling(a, b, reverse)
    return _LinearRecurrence.apply(a, b, reverse)


class _LinearRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, reverse: bool) -> Tensor:
        h = (_stepwise if a.device.type == 'cpu' else _doubling)(a, b, reverse)
        ctx.save_for_backward(a, h)
        ctx.reverse = reverse
        return h

    @staticmethod
    def backward(ctx, grad_h: Tensor) -> Tuple[Tensor, Tensor, None]:
        a, h = ctx.saved_tensors
        if ctx.reverse:
            grad_b = _solve(_shift(a, 1), grad_h, False)
            return grad_b * _shift(h, -1), grad_b, None
        grad_b = _solve(_shift(a, -1), grad_h, True)
        return grad_b * _shift(h, 1), grad_b, None


def _stepwise(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    h = torch.empty_like(b, memory_format=torch.contiguous_format)
    steps = list(zip(a.unbind(), b.unbind(), h.unbind(), strict=True))
    if reverse:
        steps.reverse()
    previous = None
    for a_t, b_t, h_t in steps:
        if previous is None:
            h_t.copy_(b_t)
        else:
            torch.addcmul(b_t, a_t, previous, out=h_t)
        previous = h_t
    return h


def _doubling(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    step = 1
    while step < a.shape[0]:
        offset = -step if reverse else step
        b = b + a * _shift(b, offset)
        a = a * _shift(a, offset)
        step *= 2
    return b


def _shift(x: Tensor, offset: int) -> Tensor:
    """Move ``x`` by ``offset`` along its first axis and fill with zeros.

    A zero is the right filling for factors too: positions before the first
    contribute nothing.
    """
    if offset > 0:
        return torch.cat([torch.zeros_like(x[:offset]), x[:-offset]])
    return torch.cat([x[-offset:], torch.zeros_like(x[offset:])])
