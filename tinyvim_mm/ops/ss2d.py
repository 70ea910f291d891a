"""SS2D: the 2-D selective scan as one operator."""

from typing import Optional

from torch import Tensor

from . import rows
from .backends import choose_backend
from .backends.compose import compose_ss2d
from .checks import (
    cast,
    check_floating,
    check_order,
    check_shape,
    check_ss2d_weights,
    compute_dtype,
    no_autocast,
)
from .rows import SS2DWeights, ss2d_weights
from .scan_paths import CROSS_SCAN, ScanOrder


def ss2d(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    paths: ScanOrder = CROSS_SCAN,
    *,
    backend: Optional[str] = None,
    prepared: Optional[SS2DWeights] = None,
) -> Tensor:
    """Scan a map along several paths and sum the results (VMamba, Sec. 4; TinyViM, Sec. 3).

    For each path ``k`` and position along it: ``(dt_low, B, C) =
    x_proj_weight[k] @ x``, ``dt = softplus(dt_projs_weight[k] @ dt_low +
    dt_projs_bias[k])``, ``A = -exp(A_logs)``; then the recurrence of
    :func:`selective_scan` with ``D = Ds``. State and arithmetic are float32
    (float64 for float64 input), also under autocast.

    Args:
        x: ``(batch, d, H, W)``, any floating type, any strides.
        x_proj_weight: ``(K, R + 2 * N, d)``.
        dt_projs_weight: ``(K, d, R)``.
        dt_projs_bias: ``(K, d)``.
        A_logs: ``(K * d, N)``.
        Ds: ``(K * d,)``.
        paths: The ``K`` scan paths, which is the fast form; or a table of positions
            ``(K, H * W)`` of any integer type, each row a permutation of ``0 .. H *
            W - 1`` (``row * W + column``), see :func:`position_table`. The rows are
            checked when a table first comes, on a GPU by waiting for it;
            ``torch.compile`` and ``torch.export`` cannot do that.
        backend: Name of the implementation; ``None`` takes
            ``TINYVIM_SSM_BACKEND`` or else the best one that runs here.
        prepared: What :func:`.rows.ss2d_weights` makes of the weights, for inference: kernels
            then read it instead of preparing the weights in each call.

    Returns:
        ``(batch, d, H, W)`` in ``x``'s type.

    Raises:
        TypeError: A tensor is not of a real floating type, or ``paths`` are no paths.
        ValueError: A shape or device does not fit, or a row of the table is no
            permutation; the message names the argument.
        BackendUnavailableError: The backend cannot run here.
    """
    check_floating(
        'ss2d',
        x=x,
        x_proj_weight=x_proj_weight,
        dt_projs_weight=dt_projs_weight,
        dt_projs_bias=dt_projs_bias,
        A_logs=A_logs,
        Ds=Ds,
    )
    weights = x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds
    check_shape('ss2d', 'x', x, ('batch', 'd', 'H', 'W'), (None, None, None, None))
    paths = check_order('ss2d', paths, x)
    check_ss2d_weights('ss2d', weights, len(paths), x.shape[1])
    if x.numel() == 0:  # nothing to scan; added so that all weights get their gradients
        return x + sum(weight.sum().to(x.dtype) for weight in weights)
    implementation = choose_backend(backend, x)
    with no_autocast(x):
        if implementation.recurrence is not None:
            if prepared is None:
                prepared = ss2d_weights(*weights)
            return rows.ss2d(implementation.recurrence, x, prepared, paths)
        dtype = compute_dtype(x)
        tensors = [cast(tensor, dtype) for tensor in (x, *weights)]
        if implementation.ss2d is None or isinstance(paths, Tensor):
            y = compose_ss2d(implementation.selective_scan, *tensors, paths)
        else:
            y = implementation.ss2d(*tensors, paths)
    return cast(y, x.dtype)
