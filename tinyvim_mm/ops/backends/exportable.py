"""The scan for exported graphs: standard operators only, and few of them.

ONNX has no scan over channels that vary, its ``Scan`` and ``Loop`` run a graph of
their own for each position, and recursive doubling reads and writes everything
``log2(L)`` times. Here the sequence is cut into chunks of ``c``. All chunks advance
together, so ``c`` steps cover the sequence, on tensors that stay in the cache:

1. from a zero state, which gives the last state of each chunk;
2. the states in which chunks begin follow by recursive doubling over the
   ``L / c`` last states, with the decay over a whole chunk,
   ``exp(A * sum of dt)``;
3. once more from these states, which gives the outputs.

Only decays, of at most 1, are exponentiated or multiplied, so that nothing
overflows. At the sizes of these networks the number of operators counts as much as
the arithmetic: one ``Gather`` puts all paths in order and into chunks, and axes of
length 1 stay where broadcasting needs them.

A graph is made by running the network once, so its chunks are those of the example.
With ``any_size`` their length and the number of doubling steps do not depend on the
map: the graph may then be used for other heights and widths, up to
:data:`MAX_POSITIONS` positions.
"""

import math
from typing import Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..scan_paths import ScanPath, position_table, time_table

#: Chunk for maps whose size is not known when the graph is made.
ANY_SIZE_CHUNK = 16
#: Doubling steps there.
ANY_SIZE_DOUBLINGS = 10
#: Positions that such a graph can scan: of 4096 x 4096 pixels at stride 32.
MAX_POSITIONS = ANY_SIZE_CHUNK * 2**ANY_SIZE_DOUBLINGS


def ss2d(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    paths: Sequence[ScanPath],
    any_size: bool = False,
) -> Tensor:
    """See :func:`tinyvim_mm.ops.ss2d`.

    Args:
        x: ``(batch, d, H, W)``.
        x_proj_weight: ``(K, R + 2 * N, d)``.
        dt_projs_weight: ``(K, d, R)``.
        dt_projs_bias: ``(K, d)``.
        A_logs: ``(K * d, N)``.
        Ds: ``(K * d,)``.
        paths: The ``K`` scan paths.
        any_size: Whether a graph made of it has to work for any ``H`` and ``W``.

    Returns:
        ``(batch, d, H, W)``.
    """
    K, d, R = dt_projs_weight.shape
    N = A_logs.shape[1]
    x = x.permute(2, 3, 0, 1)
    height, width = x.shape[:2]
    if not any_size:  # constants, although a tracer would record where they come from
        height, width = int(height), int(width)
    length = height * width
    chunk, chunks, doublings = _chunks(length, any_size)
    order, inverse = _orders(height, width, chunk, chunks, paths, x.device)

    # Projections act on each position alone and commute with any order. The
    # first axis is path and position, in the order of the map.
    flat = x.reshape(1, -1, d)
    projected = torch.matmul(flat, x_proj_weight.transpose(1, 2))
    dt_low, BC = projected.split([R, 2 * N], dim=-1)
    dt = _softplus(
        torch.matmul(dt_low, dt_projs_weight.transpose(1, 2)) + dt_projs_bias.unsqueeze(1)
    )
    dt, dt_x, BC = (
        rows.reshape(K * length, -1, channels)
        .index_select(0, order)
        .reshape(chunk, chunks, K, -1, 1, channels)
        for rows, channels in ((dt, d), (dt * flat, d), (BC, 2 * N))
    )
    B, C = BC.split([N, N], dim=-1)
    A = -A_logs.exp().reshape(K, d, N).transpose(1, 2).unsqueeze(1)
    y, _ = _chunked_scan(dt, dt_x, A, B.transpose(-1, -2), C, doublings)
    y = y.reshape(chunk * chunks * K, -1, d).index_select(0, inverse)
    y = y.reshape(K, height, width, -1, d).sum(0)
    return (y + x * Ds.reshape(K, d).sum(0)).permute(2, 3, 0, 1)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Optional[Tensor],
    delta_bias: Optional[Tensor],
    delta_softplus: bool,
    any_size: bool = False,
) -> Tuple[Tensor, Tensor]:
    """See :func:`.reference.selective_scan`; ``any_size`` as for :func:`ss2d`."""
    length = u.shape[2]
    groups, N = B.shape[1:3]
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    dt = _softplus(delta) if delta_softplus else delta
    chunk, chunks, doublings = _chunks(length, any_size)

    def in_chunks(sequence: Tensor, *shape: int) -> Tensor:
        # Filled up with zeros: steps of size 0 leave the state as it is.
        sequence = F.pad(sequence, (0, chunk * chunks - length)).flatten(1, -2)
        sequence = sequence.unflatten(-1, (chunks, chunk)).permute(3, 2, 1, 0)
        # (chunk, chunks, groups, batch, *shape): groups are what paths are above.
        return sequence.unflatten(2, (groups, -1)).transpose(3, 4).unflatten(-1, shape)

    y, state = _chunked_scan(
        in_chunks(dt, 1, -1),
        in_chunks(dt * u, 1, -1),
        A.reshape(groups, -1, N).transpose(1, 2).unsqueeze(1),
        in_chunks(B, -1, 1),
        in_chunks(C, 1, -1),
        doublings,
    )
    y = y.squeeze(-2).permute(3, 2, 4, 1, 0).flatten(1, 2).flatten(2)[..., :length]
    if D is not None:
        y = y + D[:, None] * u
    return y, state.permute(1, 0, 3, 2).flatten(1, 2)


def _chunks(length: int, any_size: bool) -> Tuple[int, int, int]:
    """Length and number of the chunks, and the doubling steps over them."""
    chunk = ANY_SIZE_CHUNK if any_size else max(1, round(math.sqrt(length)))
    chunks = (length + chunk - 1) // chunk
    return chunk, chunks, ANY_SIZE_DOUBLINGS if any_size else math.ceil(math.log2(chunks))


def _chunked_scan(
    dt: Tensor, dt_x: Tensor, A: Tensor, B: Tensor, C: Tensor, doublings: int
) -> Tuple[Tensor, Tensor]:
    """Solve ``h_t = exp(dt_t A) h_{t-1} + B_t dt_x_t``, ``y_t = C_t . h_t``.

    Position ``t`` is ``(i, j)`` of the first two axes, where ``t = j * chunk + i``.

    Args:
        dt: ``(chunk, chunks, K, batch, 1, d)``, positive.
        dt_x: Of the same shape, step size times input.
        A: ``(K, 1, N, d)``, negative.
        B: ``(chunk, chunks, K, batch, N, 1)``.
        C: ``(chunk, chunks, K, batch, 1, N)``.
        doublings: At least ``log2(chunks)``.

    Returns:
        ``y``, ``(chunk, chunks, K, batch, 1, d)``, and the last state, ``(K, batch, N,
        d)``.
    """
    decays = [torch.exp(dt_t * A) for dt_t in dt.split(1)]
    drives = [dt_x_t * B_t for dt_x_t, B_t in zip(dt_x.split(1), B.split(1), strict=True)]
    states = [drives[0]]
    for decay, drive in zip(decays[1:], drives[1:], strict=True):
        states.append(decay * states[-1] + drive)
    if doublings:
        h = _double(torch.exp(dt.sum(0, keepdim=True) * A), states[-1], doublings)
        h = _delay(h, 1)
        states = []
        for decay, drive in zip(decays, drives, strict=True):
            h = decay * h + drive
            states.append(h)
    y = torch.cat([torch.matmul(C_t, h) for C_t, h in zip(C.split(1), states, strict=True)])
    return y, states[-1][0, -1]


def _double(decay: Tensor, h: Tensor, doublings: int) -> Tensor:
    """Solve ``g_j = decay_j g_{j-1} + h_j`` along the second axis, from zero."""
    for i in range(doublings):
        h = h + decay * _delay(h, 2**i)
        if i < doublings - 1:
            decay = decay * _delay(decay, 2**i)
    return h


def _delay(x: Tensor, steps: int) -> Tensor:
    """Move ``x`` along its second axis, which may be shorter than that, and fill with zeros."""
    return F.pad(x, (*(0, 0) * (x.dim() - 2), steps, 0))[:, :-steps]


def _softplus(x: Tensor) -> Tensor:
    """``log(1 + exp(x))`` of operators that runtimes vectorize, which they do not do for it.

    ONNX has no ``log1p``: what the sum rounds away is added, without which steps below 1e-7 are
    0. Of ``maximum`` the derivative at 0 is a half, as that of the softplus; of ``clamp`` it is 1.
    """
    small = torch.exp(-x.abs())
    total = small + 1
    log1p = torch.log(total) + (small - (total - 1)) / total
    return torch.maximum(x, x.new_zeros(())) + log1p


def _orders(
    height: int,
    width: int,
    chunk: int,
    chunks: int,
    paths: Sequence[ScanPath],
    device: torch.device,
) -> Tuple[Tensor, Tensor]:
    """Where each position of the chunks comes from, and where it returns to.

    Returns:
        Indices into ``(K * H * W)`` rows of maps, one for each of ``(chunk, chunks,
        K)``, and indices into those, one for each of ``(K, H, W)``. The last chunk
        is filled up with copies of the last position, which come after it and
        thus change no result.
    """
    K, length = len(paths), height * width
    path = torch.arange(K, device=device).unsqueeze(1)
    time = torch.arange(chunk * chunks, device=device).clamp(max=length - 1)
    time = time.reshape(chunks, chunk).transpose(0, 1).reshape(-1)
    order = (path * length + position_table(paths, height, width, device))[:, time]
    t = time_table(paths, height, width, device)
    inverse = (t % chunk * chunks + t // chunk) * K + path
    return order.transpose(0, 1).reshape(-1), inverse.reshape(-1)
