"""The 1-D selective scan with mamba-ssm's meaning."""

from typing import Optional, Tuple, Union

import torch.nn.functional as F
from torch import Tensor

from . import rows
from .backends import choose_backend
from .checks import cast, check_floating, check_shape, check_states, compute_dtype, no_autocast


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Optional[Tensor] = None,
    z: Optional[Tensor] = None,
    delta_bias: Optional[Tensor] = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    backend: Optional[str] = None,
) -> Union[Tensor, Tuple[Tensor, Tensor]]:
    """Selective scan (Mamba, Alg. 2): a linear recurrence whose factors depend on the input.

    Per channel, with ``dt = softplus(delta + delta_bias)``::

        h_t = exp(dt_t * A) * h_{t-1} + dt_t * B_t * u_t        (N states)
        y_t = C_t . h_t + D * u_t

    State and arithmetic are float32 (float64 for float64 input), also under
    autocast.

    Args:
        u: ``(batch, dim, L)``, any floating type.
        delta: ``(batch, dim, L)``.
        A: ``(dim, N)``, real.
        B: ``(batch, groups, N, L)``, or ``(batch, N, L)`` for one group, or
            ``(dim, N)`` when it does not depend on the input. ``dim`` must be a
            multiple of ``groups``; neighboring channels share a group.
        C: Like ``B``.
        D: ``(dim,)``, the skip connection.
        z: ``(batch, dim, L)``; the result is multiplied by ``silu(z)``.
        delta_bias: ``(dim,)``, added to ``delta`` before softplus.
        delta_softplus: Whether ``delta`` goes through softplus.
        return_last_state: Whether to return the state after the last position.
        backend: Name of the implementation; ``None`` takes
            ``TINYVIM_SSM_BACKEND`` or else the best one that runs here.

    Returns:
        ``y`` of shape ``(batch, dim, L)`` in ``u``'s type; with
        ``return_last_state`` also the last state ``(batch, dim, N)``.

    Raises:
        TypeError: A tensor is not of a real floating type.
        ValueError: A shape or device does not fit; the message names the argument.
        BackendUnavailableError: The backend cannot run here.
    """
    check_floating(
        'selective_scan',
        ('D', 'z', 'bias'),
        **{'u': u, 'delta': delta, 'A': A, 'B': B, 'C': C, 'D': D, 'z': z, 'bias': delta_bias},
    )
    check_shape('selective_scan', 'u', u, ('batch', 'dim', 'L'), (None, None, None))
    check_shape('selective_scan', 'A', A, ('dim', 'N'), (u.shape[1], None))
    check_states('selective_scan', A)
    batch, dim, length = u.shape
    N = A.shape[1]
    for name, value in (('delta', delta), ('z', z)):
        if value is not None:
            check_shape('selective_scan', name, value, ('batch', 'dim', 'L'), u.shape)
    for name, value in (('D', D), ('delta_bias', delta_bias)):
        if value is not None:
            check_shape('selective_scan', name, value, ('dim',), (dim,))
    B = _grouped('B', B, batch, dim, N, length)
    C = _grouped('C', C, batch, dim, N, length)
    dtype = compute_dtype(u)
    if u.numel() == 0:  # nothing to launch a kernel on
        # Added so that all arguments get their gradients, which are zero.
        others = [t.sum().to(u.dtype) for t in (delta, A, B, C, D, delta_bias, z) if t is not None]
        y, state = u + sum(others), u.new_zeros(batch, dim, N, dtype=dtype)
        return (y, state) if return_last_state else y
    if B.shape[1] != C.shape[1]:  # one of them is constant over groups
        groups = max(B.shape[1], C.shape[1])
        B, C = (t.repeat_interleave(groups // t.shape[1], 1) for t in (B, C))

    implementation = choose_backend(backend, u)
    tensors = (u, delta, A, B, C, D, delta_bias)
    with no_autocast(u):
        if implementation.recurrence is not None:
            y, state = rows.selective_scan(implementation.recurrence, *tensors, delta_softplus)
        else:
            tensors = [None if tensor is None else cast(tensor, dtype) for tensor in tensors]
            y, state = implementation.selective_scan(*tensors, delta_softplus)
        if z is not None:
            y = cast(y, dtype) * F.silu(cast(z, dtype))
    y = cast(y, u.dtype)
    return (y, state) if return_last_state else y


def _grouped(name: str, value: Tensor, batch: int, dim: int, N: int, length: int) -> Tensor:
    """Bring ``B`` or ``C`` to ``(batch, groups, N, L)``."""
    if value.dim() == 2:
        check_shape('selective_scan', name, value, ('dim', 'N'), (dim, N))
        return value[None, :, :, None].expand(batch, dim, N, length)
    if value.dim() == 3:
        check_shape('selective_scan', name, value, ('batch', 'N', 'L'), (batch, N, length))
        return value.unsqueeze(1)
    axes = ('batch', 'groups', 'N', 'L')
    check_shape('selective_scan', name, value, axes, (batch, None, N, length))
    groups = value.shape[1]
    if groups == 0 or dim % groups:
        raise ValueError(
            f'selective_scan: {name} has {groups} groups, which do not divide dim = {dim}'
        )
    return value
