"""SS2D written for exported graphs: standard operators only, and few of them.

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
overflows. At the sizes of this network the number of operators counts as much as
the arithmetic: one ``Gather`` puts all paths in order and into chunks, and axes of
length 1 stay where broadcasting needs them.
"""

import contextlib
import math
from functools import partial
from typing import Iterator, Sequence, Tuple

import torch
from torch import Tensor, nn

from ..models.layers import SS2D
from ..ops.scan_paths import ScanPath

#: Chunk for maps whose size is not known when the graph is made.
DYNAMIC_CHUNK = 16
#: Doubling steps there.
DYNAMIC_DOUBLINGS = 10
#: Positions that such a graph can scan: of 4096 x 4096 pixels at stride 32.
MAX_DYNAMIC_POSITIONS = DYNAMIC_CHUNK * 2**DYNAMIC_DOUBLINGS


@contextlib.contextmanager
def exportable_scan(
    model: nn.Module, dynamic_size: bool = False, leave_out: bool = False
) -> Iterator[None]:
    """Let all SS2D layers of a model compute in the form of this module.

    Args:
        model: Contains the layers.
        dynamic_size: Whether the graph that is made in this context has to work
            for other heights and widths, up to :data:`MAX_DYNAMIC_POSITIONS`
            positions of a scan.
        leave_out: Replace the layers by the identity. The result is no TinyViM; its
            latency is the limit of what a better scan could reach.
    """
    layers = [module for module in model.modules() if isinstance(module, SS2D)]
    for layer in layers:
        layer.forward = (lambda x: x) if leave_out else partial(_forward, layer, dynamic_size)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the method of the class is in its place again


def _forward(layer: SS2D, dynamic_size: bool, x: Tensor) -> Tensor:
    """Compute what ``SS2D.forward`` computes: ``(batch, d, H, W)`` to the same shape."""
    operator = partial(ss2d, dynamic_size=dynamic_size)
    y = layer.scan(operator, x.permute(2, 3, 0, 1), height_axis=0)
    return layer.out_norm(y).permute(2, 3, 0, 1)


def ss2d(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    paths: Sequence[ScanPath],
    dynamic_size: bool = False,
) -> Tensor:
    """See :func:`tinyvim_mm.ops.ss2d`, except for the order of axes.

    Args:
        x: ``(H, W, batch, d)``.
        x_proj_weight: ``(K, R + 2 * N, d)``.
        dt_projs_weight: ``(K, d, R)``.
        dt_projs_bias: ``(K, d)``.
        A_logs: ``(K * d, N)``.
        Ds: ``(K * d,)``.
        paths: The ``K`` scan paths.
        dynamic_size: Whether the graph has to work for any ``H`` and ``W``.

    Returns:
        ``(H, W, batch, d)``.
    """
    K, d, R = dt_projs_weight.shape
    N = A_logs.shape[1]
    height, width = x.shape[:2]
    if not dynamic_size:  # constants, although a tracer would record where they come from
        height, width = int(height), int(width)
    length = height * width
    chunk = DYNAMIC_CHUNK if dynamic_size else max(1, round(math.sqrt(length)))
    chunks = (length + chunk - 1) // chunk
    doublings = DYNAMIC_DOUBLINGS if dynamic_size else math.ceil(math.log2(chunks))
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
    y = _chunked_scan(dt, dt_x, A, B.transpose(-1, -2), C, doublings)
    y = y.reshape(chunk * chunks * K, -1, d).index_select(0, inverse)
    y = y.reshape(K, height, width, -1, d).sum(0)
    return y + x * Ds.reshape(K, d).sum(0)


def _chunked_scan(
    dt: Tensor, dt_x: Tensor, A: Tensor, B: Tensor, C: Tensor, doublings: int
) -> Tensor:
    """Solve ``h_t = exp(dt_t A) h_{t-1} + B_t dt_x_t`` and return ``y_t = C_t . h_t``.

    Position ``t`` is ``(i, j)`` of the first two axes, where ``t = j * chunk + i``.

    Args:
        dt: ``(chunk, chunks, K, batch, 1, d)``, positive.
        dt_x: Of the same shape, step size times input.
        A: ``(K, 1, N, d)``, negative.
        B: ``(chunk, chunks, K, batch, N, 1)``.
        C: ``(chunk, chunks, K, batch, 1, N)``.
        doublings: At least ``log2(chunks)``.

    Returns:
        ``(chunk, chunks, K, batch, 1, d)``.
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
    return torch.cat([torch.matmul(C_t, h) for C_t, h in zip(C.split(1), states, strict=True)])


def _double(decay: Tensor, h: Tensor, doublings: int) -> Tensor:
    """Solve ``g_j = decay_j g_{j-1} + h_j`` along the second axis, from zero."""
    for i in range(doublings):
        h = h + decay * _delay(h, 2**i)
        if i < doublings - 1:
            decay = decay * _delay(decay, 2**i)
    return h


def _delay(x: Tensor, steps: int) -> Tensor:
    """Move ``x`` along its second axis, which may be shorter than that, and fill with zeros."""
    return nn.functional.pad(x, (*(0, 0) * (x.dim() - 2), steps, 0))[:, :-steps]


def _softplus(x: Tensor) -> Tensor:
    """``log(1 + exp(x))`` of operators that runtimes vectorise, which they do not do for it."""
    return x.clamp_min(0) + torch.log(torch.exp(-x.abs()) + 1)


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
    time = torch.arange(chunk * chunks, device=device).clamp(max=length - 1)
    time = time.reshape(chunks, chunk).transpose(0, 1)
    place = torch.arange(length, device=device)
    order, inverse = [], []
    for k, path in enumerate(paths):
        t = length - 1 - time if path.reverse else time
        order.append(k * length + (t % height * width + t // height if path.transpose else t))
        t = place % width * height + place // width if path.transpose else place
        t = length - 1 - t if path.reverse else t
        inverse.append((t % chunk * chunks + t // chunk) * K + k)
    return torch.stack(order, -1).flatten(), torch.cat(inverse)
