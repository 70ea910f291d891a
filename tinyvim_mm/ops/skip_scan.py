"""SS2D on skip-sampled grids."""

from typing import Callable, List

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import (
    check_floating,
    check_order,
    check_shape,
    check_ss2d_weights,
    mark_checked,
    no_autocast,
)
from .scan_paths import SKIP_SCAN, ScanOrder, check_paths


def scan_skipping(
    operator: Callable[..., Tensor],
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    paths: ScanOrder = SKIP_SCAN,
) -> Tensor:
    """Cut a map into four grids, scan each by itself, and put it together again.

    The efficient 2-D scan of EfficientVMamba (Sec. 3.2) with a step of 2: grid ``k``
    has the rows that begin with ``k % 2`` and the columns that begin with ``k // 2``,
    and is scanned along path ``k`` with the parameters of that path. So each position
    is read once, and nothing is summed.

    A map of odd height or width gets a row or column of zeros at its end, so that
    all grids have the same size ``ceil(H / 2) * ceil(W / 2)``. At these added
    positions nothing enters the state, but it decays as at any other. Their results
    are cut off again.

    Args:
        operator: :func:`tinyvim_mm.ops.ss2d`, or what takes the same arguments up to
            the paths.
        x: ``(batch, d, H, W)``.
        x_proj_weight: ``(4, R + 2 * N, d)``.
        dt_projs_weight: ``(4, d, R)``.
        dt_projs_bias: ``(4, d)``.
        A_logs: ``(4 * d, N)``.
        Ds: ``(4 * d,)``.
        paths: Those of the four grids, or a table of the positions of each grid,
            ``(4, ceil(H / 2) * ceil(W / 2))``.

    Returns:
        Of ``x``'s shape.
    """
    weights = {
        'x_proj_weight': x_proj_weight,
        'dt_projs_weight': dt_projs_weight,
        'dt_projs_bias': dt_projs_bias,
        'A_logs': A_logs,
        'Ds': Ds,
    }
    check_floating('scan_skipping', x=x, **weights)
    check_shape('scan_skipping', 'x', x, ('batch', 'd', 'H', 'W'), (None, None, None, None))
    if not isinstance(paths, Tensor):
        check_paths('scan_skipping', paths)
    check_ss2d_weights('scan_skipping', tuple(weights.values()), len(paths), x.shape[1])
    with no_autocast(x):
        return _scan_grids(operator, x, *weights.values(), paths)


def _scan_grids(
    operator: Callable[..., Tensor],
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    paths: ScanOrder,
) -> Tensor:
    height, width = x.shape[2:]
    # Channels last, as the operators have maps in memory.
    x = pad_to_even(x).permute(0, 2, 3, 1)
    if isinstance(paths, Tensor):
        check_order('scan_skipping', paths, x[:, ::2, ::2].permute(0, 3, 1, 2))
    d = x.shape[-1]
    grids = []
    for k in range(len(paths)):
        grid = x[:, k % 2 :: 2, k // 2 :: 2].permute(0, 3, 1, 2)
        weights = [weight[k : k + 1] for weight in (x_proj_weight, dt_projs_weight, dt_projs_bias)]
        # Slices: gradients of chunks are put together by an operator that autocast minds.
        weights += [parameter[k * d : (k + 1) * d] for parameter in (A_logs, Ds)]
        path = paths[k : k + 1]
        if isinstance(path, Tensor):
            mark_checked(path)  # checked above, with the others
        grids.append(operator(grid, *weights, path).permute(0, 2, 3, 1))
    return _interleave(grids)[:, :height, :width].permute(0, 3, 1, 2)


def pad_to_even(x: Tensor) -> Tensor:
    """Add a row and a column of zeros at the end of sides that are odd.

    Args:
        x: ``(batch, d, H, W)``.
    """
    height, width = x.shape[2:]
    # A graph made by tracing has to do for even and odd sides, whatever the example has.
    if torch.jit.is_tracing() or height % 2 or width % 2:
        x = F.pad(x, (0, width % 2, 0, height % 2))
    return x


def _interleave(grids: List[Tensor]) -> Tensor:
    """Put the four grids of :func:`scan_skipping`, ``(batch, H, W, d)`` each, together."""
    even, odd = (torch.stack(grids[row::2], 3).flatten(2, 3) for row in (0, 1))
    return torch.stack([even, odd], 2).flatten(1, 2)
