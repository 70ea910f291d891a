"""From the arguments of the public operators to those of the recurrence, and back.

Kernels compute the recurrence alone, on tensors whose last axis holds channels or
states (``registration.py`` describes them). What stands here around it is algebra that
torch differentiates, compiles and counts by itself. Both projections of SS2D act on
each position alone, so they are matrix products on the map as it lies in memory, for
all paths at once; a kernel reads the results in the order of each path.
"""

from typing import Callable, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import cast
from .scan_paths import ScanOrder

#: See :func:`tinyvim_mm.ops.backends.registration.register`.
Recurrence = Callable[..., Tuple[Tensor, Tensor]]


class SS2DWeights(NamedTuple):
    """The weights of SS2D as kernels read them, all float32.

    Attributes:
        x_proj: ``(K * (R + 2 * N), d)``: of each path ``R`` rows for the step sizes, ``N``
            for ``B``, ``N`` for ``C``.
        step: ``(K, R, d)``.
        A: ``(K, N, d)``, negative.
        D: ``(K, d)``.
        bias: ``(K, d)``, of the step sizes.
    """

    x_proj: Tensor
    step: Tensor
    A: Tensor
    D: Tensor
    bias: Tensor


def ss2d_weights(
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
) -> SS2DWeights:
    """Prepare the weights of :func:`tinyvim_mm.ops.ss2d`, which has checked them."""
    K, d, _ = dt_projs_weight.shape
    return SS2DWeights(
        _float(x_proj_weight).reshape(-1, d),
        _float(dt_projs_weight).transpose(1, 2),
        _float(A_logs).exp().neg().unflatten(0, (K, d)).transpose(1, 2),
        _float(Ds).reshape(K, d),
        _float(dt_projs_bias),
    )


def ss2d(recurrence: Recurrence, x: Tensor, weights: SS2DWeights, order: ScanOrder) -> Tensor:
    """See :func:`tinyvim_mm.ops.ss2d`, which has checked the arguments."""
    K, N, d = weights.A.shape
    R = weights.step.shape[1]
    height, width = x.shape[2:]
    length = height * width
    rows = x.permute(0, 2, 3, 1).reshape(-1, d)
    # float32 whatever the types: what is lost here would enter the exponents.
    projected = F.linear(_float(rows), weights.x_proj)
    projected = projected.view(-1, length, K, R + 2 * N).transpose(1, 2)
    dt_low, B, C = projected.split([R, N, N], dim=3)
    table = isinstance(order, Tensor)
    y, _ = recurrence(
        rows.view(-1, 1, length, d),
        dt_low,
        weights.step,
        B,
        C,
        weights.A,
        weights.D,
        weights.bias,
        order.int() if table else None,
        [] if table else [path.code() for path in order],
        width,
        True,
        False,
    )
    return y.view(-1, height, width, d).permute(0, 3, 1, 2)


def selective_scan(
    recurrence: Recurrence,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Optional[Tensor],
    delta_bias: Optional[Tensor],
    delta_softplus: bool,
) -> Tuple[Tensor, Tensor]:
    """See :func:`.reference.selective_scan`; groups take the place of paths."""
    if u.dtype != delta.dtype:
        u, delta = _float(u), _float(delta)
    groups, _, length = B.shape[1:]
    shape = (groups, u.shape[1] // groups)
    y, state = recurrence(
        u.unflatten(1, shape).transpose(2, 3).contiguous(),
        delta.unflatten(1, shape).transpose(2, 3).contiguous(),
        None,
        _float(B).transpose(2, 3).contiguous(),
        _float(C).transpose(2, 3).contiguous(),
        _float(A).unflatten(0, shape).transpose(1, 2),
        None if D is None else _float(D).reshape(shape),
        None if delta_bias is None else _float(delta_bias).reshape(shape),
        None,
        [],
        length,
        delta_softplus,
        True,
    )
    return y.transpose(2, 3).flatten(1, 2), state.transpose(2, 3).flatten(1, 2)


def _float(tensor: Tensor) -> Tensor:
    return cast(tensor, torch.float32)
