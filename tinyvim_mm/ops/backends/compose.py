"""SS2D built from any 1-D scan, for backends that fuse nothing more."""

from typing import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from ..scan_paths import ScanPath, cross_merge, cross_scan


def compose_ss2d(
    scan: Callable,
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    paths: Sequence[ScanPath],
) -> Tensor:
    """Cross-scan, project, scan, merge; arguments as :func:`tinyvim_mm.ops.ss2d`.

    Both projections act on each position alone and so commute with any scan
    order: they run once on the map as it lies, and only their results are
    reordered.
    """
    K, d, R = dt_projs_weight.shape
    N = A_logs.shape[1]
    height, width = x.shape[-2:]
    projected = F.conv2d(x, x_proj_weight.reshape(-1, d, 1, 1)).unflatten(1, (K, R + 2 * N))
    dt_low, B, C = projected.split([R, N, N], dim=2)
    delta = F.conv2d(dt_low.flatten(1, 2), dt_projs_weight.reshape(K * d, R, 1, 1), groups=K)
    y, _ = scan(
        cross_scan(x.unsqueeze(1), paths).flatten(1, 2),
        cross_scan(delta.unflatten(1, (K, d)), paths).flatten(1, 2),
        -A_logs.exp(),
        cross_scan(B, paths),
        cross_scan(C, paths),
        Ds,
        dt_projs_bias.flatten(),
        True,
    )
    return cross_merge(y.unflatten(1, (K, d)), height, width, paths)
