"""Adaptive gradient clipping."""

from typing import Iterable

import torch
from torch import Tensor

# Keeps the division finite where a gradient is zero.
_TINY = 1e-6


@torch.no_grad()
def adaptive_clip_grad_(
    parameters: Iterable[Tensor], clip_factor: float, eps: float = 1e-3
) -> None:
    """Clip each unit's gradient, in place, to a share of the norm of the unit's weights.

    Brock et al., "High-Performance Large-Scale Image Recognition Without
    Normalization", 2021, equation 3: where a unit's gradient ``G`` is longer than
    ``clip_factor * max(|W|, eps)``, it is scaled to that length. A unit is what one
    index of a parameter's first axis selects: the weights of one output
    channel. Vectors and scalars (biases, gains) are one unit each.

    Parameters without a gradient are left out. ``eps`` lets units which start at zero move.
    """
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        limit = _unit_norm(parameter).clamp_(min=eps).mul_(clip_factor)
        norm = _unit_norm(gradient)
        gradient.mul_(torch.where(norm > limit, limit / norm.clamp(min=_TINY), 1.0))


def _unit_norm(x: Tensor) -> Tensor:
    """Euclidean norms, in fp32, of a shape that broadcasts against ``x``."""
    dim = tuple(range(1, x.dim())) if x.dim() > 1 else None
    return torch.linalg.vector_norm(x.float(), dim=dim, keepdim=True)
