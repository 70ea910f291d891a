"""SS2D on skip-sampled grids."""

from typing import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .scan_paths import SKIP_SCAN, ScanPath


def scan_skipping(
    operator: Callable[..., Tensor],
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    paths: Sequence[ScanPath] = SKIP_SCAN,
    height_axis: int = 2,
) -> Tensor:
    """Cut a map into four grids, scan each by itself, and put it together again.

    The efficient 2-D scan of EfficientVMamba (Sec. 3.2) with a step of 2: grid ``k``
    has the rows that begin with ``k % 2`` and the columns that begin with ``k // 2``,
    and is scanned along path ``k`` with the parameters of that path. So each position
    is read once, and nothing is summed.

    Odd sides are filled up with a row or column of zeros, which take part in the
    scan: their input is nothing, but the state decays.

    Args:
        operator: :func:`tinyvim_mm.ops.ss2d`, or what takes the same arguments up to
            the paths.
        x: What the operator takes, ``(batch, d, H, W)``.
        x_proj_weight: ``(4, R + 2 * N, d)``.
        dt_projs_weight: ``(4, d, R)``.
        dt_projs_bias: ``(4, d)``.
        A_logs: ``(4 * d, N)``.
        Ds: ``(4 * d,)``.
        paths: Those of the four grids.
        height_axis: Where ``x`` has its height, if the operator has another order of
            axes; the width is the next.

    Returns:
        Of ``x``'s shape.
    """
    axis = height_axis
    height, width = x.shape[axis : axis + 2]
    x = pad_to_even(x, axis)
    per_path = [parameter.chunk(len(paths)) for parameter in (A_logs, Ds)]
    before = (slice(None),) * axis
    grids = []
    for k, path in enumerate(paths):
        grid = x[(*before, slice(k % 2, None, 2), slice(k // 2, None, 2))]
        weights = [weight[k : k + 1] for weight in (x_proj_weight, dt_projs_weight, dt_projs_bias)]
        weights += [chunks[k] for chunks in per_path]
        grids.append(operator(grid, *weights, (path,)))
    return _interleave(grids, axis)[(*before, slice(height), slice(width))]


def pad_to_even(x: Tensor, height_axis: int = 2) -> Tensor:
    """Add a row and a column of zeros at the end of sides that are odd.

    Args:
        x: A map; its width follows ``height_axis``.
        height_axis: Where it has its height.
    """
    height, width = x.shape[height_axis : height_axis + 2]
    # A graph made by tracing has to do for even and odd sides, whatever the example has.
    if torch.jit.is_tracing() or height % 2 or width % 2:
        after = (0, 0) * (x.dim() - height_axis - 2)
        x = F.pad(x, (*after, 0, width % 2, 0, height % 2))
    return x


def _interleave(grids: Sequence[Tensor], axis: int) -> Tensor:
    """Put the four grids of :func:`scan_skipping` together; ``axis`` is the height's."""
    if axis == 2:  # as the operator returns maps in memory: channels last
        nhwc = [grid.permute(0, 2, 3, 1) for grid in grids]
        return _interleave(nhwc, 1).permute(0, 3, 1, 2)
    even, odd = (torch.stack(grids[i::2], axis + 2).flatten(axis + 1, axis + 2) for i in (0, 1))
    return torch.stack([even, odd], axis + 1).flatten(axis, axis + 1)
