"""The recurrence as it is written down: the truth that every backend is tested against."""

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


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
        u: ``(batch, dim, L)``, of which none is 0.
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
    per_group = u.shape[1] // B.shape[1]
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    B = B.repeat_interleave(per_group, 1)
    C = C.repeat_interleave(per_group, 1)
    h = u.new_zeros(u.shape[0], *A.shape)
    outputs = []
    for u_t, dt, B_t, C_t in zip(*(s.unbind(-1) for s in (u, delta, B, C)), strict=True):
        h = torch.exp(dt.unsqueeze(-1) * A) * h + (dt * u_t).unsqueeze(-1) * B_t
        outputs.append((h * C_t).sum(-1))
    y = torch.stack(outputs, -1)
    if D is not None:
        y = y + D[:, None] * u
    return y, h
