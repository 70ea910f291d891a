"""The recurrence as it is written down: the truth that every backend is tested against."""

from functools import partial
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .compose import compose_ss2d


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
    """Scan position by position.

    Args:
        u: ``(batch, dim, L)``.
        delta: ``(batch, dim, L)``.
        A: ``(dim, N)``.
        B: ``(batch, groups, N, L)``.
        C: ``(batch, groups, N, L)``.
        D: ``(dim,)`` or ``None``.
        delta_bias: ``(dim,)`` or ``None``.
        delta_softplus: Whether ``delta`` goes through softplus.

    Returns:
        ``y`` of shape ``(batch, dim, L)`` and the last state ``(batch, dim, N)``.
    """
    batch, dim, length = u.shape
    per_group = dim // B.shape[1]
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    B = B.repeat_interleave(per_group, 1)
    C = C.repeat_interleave(per_group, 1)
    h = u.new_zeros(batch, dim, A.shape[1])
    outputs = []
    for t in range(length):
        dt = delta[:, :, t, None]
        h = torch.exp(dt * A) * h + dt * B[:, :, :, t] * u[:, :, t, None]
        outputs.append((h * C[:, :, :, t]).sum(-1))
    y = torch.stack(outputs, -1) if outputs else u
    if D is not None:
        y = y + D[:, None] * u
    return y, h


ss2d = partial(compose_ss2d, selective_scan)
