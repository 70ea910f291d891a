"""SS2D composed of a 1-D scan: for backends with no SS2D of their own, and for tables."""

from typing import Callable

import torch.nn.functional as F
from torch import Tensor

from ..scan_paths import ScanOrder, cross_merge, cross_scan


def compose_ss2d(
    scan: Callable,
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    order: ScanOrder,
) -> Tensor:
    """Project, cross-scan, scan, merge.

    Both projections act on each position alone, so they may run before the
    positions are put in order: once on the map as it lies, for all paths.

    Args:
        scan: The ``selective_scan`` of a backend.
        x: ``(batch, d, H, W)``; all tensors are of the type in which ``scan`` computes.
        x_proj_weight: ``(K, R + 2 * N, d)``.
        dt_projs_weight: ``(K, d, R)``.
        dt_projs_bias: ``(K, d)``.
        A_logs: ``(K * d, N)``.
        Ds: ``(K * d,)``.
        order: The ``K`` paths, or a checked table of positions ``(K, H * W)``, int64.

    Returns:
        ``(batch, d, H, W)``.
    """
    K, d, R = dt_projs_weight.shape
    N = A_logs.shape[1]
    height, width = x.shape[-2:]
    projected = F.conv2d(x, x_proj_weight.reshape(-1, d, 1, 1)).unflatten(1, (K, R + 2 * N))
    dt_low, B, C = projected.split([R, N, N], dim=2)
    if R > 0:
        delta = F.conv2d(dt_low.flatten(1, 2), dt_projs_weight.reshape(K * d, R, 1, 1), groups=K)
    else:  # no convolution has 0 channels; the sum is 0, and has a gradient
        delta = dt_projs_weight.sum() + x.new_zeros(x.shape[0], K * d, height, width)
    y, _ = scan(
        cross_scan(x.unsqueeze(1), order).flatten(1, 2),
        cross_scan(delta.unflatten(1, (K, d)), order).flatten(1, 2),
        -A_logs.exp(),
        cross_scan(B, order),
        cross_scan(C, order),
        Ds,
        dt_projs_bias.flatten(),
        True,
    )
    return cross_merge(y.unflatten(1, (K, d)), height, width, order)
