"""The recurrence of the kernels in plain torch: what :func:`.registration.register` describes.

It is differentiable any number of times, which kernels are not.
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor

from ..scan_paths import ScanPath, position_table, reorder
from . import parallel


def recurrence(
    x: Tensor,
    step: Tensor,
    step_weight: Optional[Tensor],
    B: Tensor,
    C: Tensor,
    A: Tensor,
    D: Optional[Tensor],
    bias: Optional[Tensor],
    positions: Optional[Tensor],
    paths: List[int],
    width: int,
    softplus: bool,
) -> Tuple[Tensor, Tensor]:
    """``y`` and the last states, in float32 or ``x``'s wider type."""
    delta = step if step_weight is None else torch.matmul(step, step_weight)
    K, _, d = A.shape
    length = x.shape[2]
    if positions is None and paths:
        orders = [ScanPath.from_code(code) for code in paths]
        positions = position_table(orders, length // width, width, x.device)

    def in_time(rows: Tensor) -> Tensor:  # (batch, 1 or K, L, c) to (batch, K, c, L)
        rows = rows.to(A.dtype).expand(-1, K, -1, -1).transpose(2, 3)
        return rows if positions is None else reorder(rows, positions)

    y, state = parallel.selective_scan(
        in_time(x).flatten(1, 2),
        in_time(delta).flatten(1, 2),
        A.transpose(1, 2).flatten(0, 1),
        in_time(B),
        in_time(C),
        None if D is None else D.flatten(),
        None if bias is None else bias.flatten(),
        softplus,
    )
    y = y.unflatten(1, (K, d))
    if positions is not None:
        y = reorder(y, positions.argsort(1))
    y = y.transpose(2, 3)
    if x.shape[1] == 1:
        y = y.sum(1, keepdim=True)
    return y, state.unflatten(1, (K, d)).transpose(2, 3)
