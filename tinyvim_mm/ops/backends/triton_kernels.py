"""The scan in Triton, and what its backward shares. Imported only once Triton is needed.

The structure is that of ``kernels/csrc/common/cpu/scan_kernel.h``: tensors lie
position by position with channels (or states) innermost, and a program handles
one tile of channels of one path of one sample. Its state is a tile
``(states, channels)`` in registers with channels along the lanes, so that the
sum over states that gives ``y`` stays within a thread.

Time is walked in groups of four steps, written out: a group's loads do not wait
for the recurrence or for each other, and its four states fit into registers.

Step sizes of low rank are computed here rather than by a matrix product before:
that product would write and read a value for each path, position and channel,
and round its factors where a user lets matrix products do so (TF32, autocast).

Integers are no compile-time constants and Triton does not specialize on them: a
new image size, batch or number of channels compiles nothing.
"""

import triton
import triton.language as tl

from .registration import CHECKPOINT

#: A path's code takes two bits of one 64-bit integer.
MAX_CODES = 31

# Global variables that kernels read must be compile-time constants.
_CHECKPOINT = tl.constexpr(CHECKPOINT)
_GROUP = tl.constexpr(4)  # steps that are written out
_LOG2_E = tl.constexpr(1.4426950408889634)

#: Arguments that are integers.
INTEGERS = [
    *('codes', 'length', 'width', 'batch', 'paths', 'channels'),
    *(f'{tensor}_{axis}' for tensor in ('x', 'step', 'BC') for axis in ('b', 'k', 'p')),
]


@triton.jit
def task(paths, channels, BLOCK_D: tl.constexpr):
    """Sample, path and channel tile of this program; neighbors share B and C."""
    tiles = tl.cdiv(channels, BLOCK_D)
    program = tl.program_id(0)
    row = program // tiles
    return (row // paths).to(tl.int64), (row % paths).to(tl.int64), program % tiles


@triton.jit
def _position(code, t, length, width):
    """Position that a path visits at time t, see ``kernels/csrc/common/scan_path.h``."""
    t = tl.where((code & 2) != 0, length - 1 - t, t)
    height = length // width
    return tl.where((code & 1) != 0, (t % height) * width + t // height, t)


@triton.jit
def _next_position(p, code, length, width):
    """The position after p on its path, without a division."""
    step = tl.where((code & 1) != 0, width, 1)
    p += tl.where((code & 2) != 0, -step, step)
    p = tl.where(p >= length, p - (length - 1), p)  # from the foot of a column to the next
    return tl.where(p < 0, p + (length - 1), p)


@triton.jit
def _four_positions(table, code, t, length, width):
    """Positions at time t and the three after it: from the path's table or its code."""
    if table is not None:
        last = length - 1
        p0 = tl.load(table + tl.minimum(t, last))
        p1 = tl.load(table + tl.minimum(t + 1, last))
        p2 = tl.load(table + tl.minimum(t + 2, last))
        p3 = tl.load(table + tl.minimum(t + 3, last))
    else:
        p0 = _position(code, t, length, width)
        p1 = _next_position(p0, code, length, width)
        p2 = _next_position(p1, code, length, width)
        p3 = _next_position(p2, code, length, width)
    return p0.to(tl.int64), p1.to(tl.int64), p2.to(tl.int64), p3.to(tl.int64)


@triton.jit
def both(inside, valid):
    """``inside & valid`` for a tile and a scalar.

    The interpreter turns a condition that it broadcasts into integers and then,
    since 3.7, refuses them as a mask; hence the comparison.
    """
    return (inside & valid) != 0


@triton.jit
def load(pointers, inside):
    """Values as float32, whatever their type (bf16 arithmetic is NaN in the interpreter)."""
    return tl.load(pointers, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def per_channel(values, offsets, inside, BLOCK_D: tl.constexpr):
    """A value for each channel, 0 if none are given."""
    result = tl.zeros([BLOCK_D], tl.float32)
    if values is not None:
        result = load(values + offsets, inside)
    return result


@triton.jit
def step_source(step, step_weight, k, d, in_d, channels, RANK: tl.constexpr,
                BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr):  # fmt: skip
    """Where steps come from: pointers, factors ``(ranks, channels)``, which ranks exist."""
    r = tl.arange(0, BLOCK_R)
    in_r = r < RANK
    weight = tl.zeros([BLOCK_R, BLOCK_D], tl.float32)
    if RANK > 0:
        offsets = (k * RANK + r[:, None]) * channels + d[None, :]
        weight = load(step_weight + offsets, in_r[:, None] & in_d[None, :])
        step += r
    else:
        step += d
    return step, weight, in_r


@triton.jit
def _step_size(raw, valid, SOFTPLUS: tl.constexpr):
    """Step size and its derivative; zero, which changes no state, outside the sequence."""
    dt = raw
    slope = tl.full(raw.shape, 1.0, tl.float32)
    if SOFTPLUS:
        e = tl.exp(tl.minimum(raw, 20.0))
        one_more = 1.0 + e
        # log(1 + e) with the rounding of 1 + e made good: exact for small e.
        log1p = tl.log(one_more) + (e - (one_more - 1.0)) / one_more
        dt = tl.where(raw > 20.0, raw, log1p)
        dt = tl.where(raw != raw, raw, dt)  # minimum() may have dropped a NaN
        slope = tl.where(raw > 20.0, 1.0, e / one_more)
    return tl.where(valid, dt, 0.0), slope


@triton.jit
def _load_step(t, p, length, x, x_p, step, step_p, weight, bias, B, BC_p, in_d, in_r, in_n,
               RANK: tl.constexpr, SOFTPLUS: tl.constexpr):  # fmt: skip
    """What drives the state at one time: step size, its derivative, x and B."""
    valid = t < length
    if RANK > 0:
        low = load(step + p * step_p, both(in_r, valid))
        raw = tl.sum(low[:, None] * weight, 0) + bias
    else:
        raw = load(step + p * step_p, both(in_d, valid)) + bias
    dt, slope = _step_size(raw, valid, SOFTPLUS)
    return (
        dt,
        slope,
        load(x + p * x_p, both(in_d, valid)),
        load(B + p * BC_p, both(in_n, valid)),
    )


@triton.jit
def load_group(table, code, t, length, width, x, x_p, step, step_p, weight, bias, B, BC_p,
               in_d, in_r, in_n, RANK: tl.constexpr, SOFTPLUS: tl.constexpr):  # fmt: skip
    """Position and :func:`_load_step` of four times."""
    p0, p1, p2, p3 = _four_positions(table, code, t, length, width)
    dt0, slope0, x0, B0 = _load_step(
        t, p0, length, x, x_p, step, step_p, weight, bias, B, BC_p, in_d, in_r, in_n,
        RANK, SOFTPLUS,
    )  # fmt: skip
    dt1, slope1, x1, B1 = _load_step(
        t + 1, p1, length, x, x_p, step, step_p, weight, bias, B, BC_p, in_d, in_r, in_n,
        RANK, SOFTPLUS,
    )  # fmt: skip
    dt2, slope2, x2, B2 = _load_step(
        t + 2, p2, length, x, x_p, step, step_p, weight, bias, B, BC_p, in_d, in_r, in_n,
        RANK, SOFTPLUS,
    )  # fmt: skip
    dt3, slope3, x3, B3 = _load_step(
        t + 3, p3, length, x, x_p, step, step_p, weight, bias, B, BC_p, in_d, in_r, in_n,
        RANK, SOFTPLUS,
    )  # fmt: skip
    return (
        p0, dt0, slope0, x0, B0, p1, dt1, slope1, x1, B1,
        p2, dt2, slope2, x2, B2, p3, dt3, slope3, x3, B3,
    )  # fmt: skip


@triton.jit
def advance(h, A_log2, dt, x, B):
    """State after one step, and the decay that the step applied."""
    decay = tl.exp2(dt[None, :] * A_log2)
    return decay * h + (dt * x)[None, :] * B[:, None], decay


@triton.jit(do_not_specialize=INTEGERS)
def scan_forward(
    x,  # (batch, paths, length, channels), strides x_*
    step,  # likewise, or ranks in place of channels if RANK > 0; strides step_*
    step_weight,  # (paths, ranks, channels) or None
    B,  # (batch, paths, length, states), strides BC_*
    C,  # likewise
    A,  # (paths, states, channels)
    D,  # (paths, channels) or None
    bias,  # (paths, channels) or None
    table,  # (paths, length), positions in the order of time, or None
    y,  # (batch, paths, length, channels)
    last_state,  # (batch, paths, states, channels) or None
    checkpoints,  # (batch, paths, ceil(length / CHECKPOINT), states, channels) or None
    codes,  # without a table: two bits per path
    length,
    width,
    batch,
    paths,
    channels,
    x_b,
    x_k,
    x_p,
    step_b,
    step_k,
    step_p,
    BC_b,
    BC_k,
    BC_p,
    STATES: tl.constexpr,
    RANK: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    """The recurrence along one path, for one tile of channels."""
    b, k, tile = task(paths, channels, BLOCK_D)
    code = ((codes >> (2 * k)) & 3).to(tl.int32)
    d = tile * BLOCK_D + tl.arange(0, BLOCK_D)
    n = tl.arange(0, BLOCK_N)
    in_d, in_n = d < channels, n < STATES
    inside = in_n[:, None] & in_d[None, :]
    nd = n[:, None] * channels + d[None, :]
    slot = STATES * channels.to(tl.int64)

    x += b * x_b + k * x_k + d
    B += b * BC_b + k * BC_k + n
    C += b * BC_b + k * BC_k + n
    y += (b * paths + k) * length * channels + d
    step, weight, in_r = step_source(
        step + b * step_b + k * step_k, step_weight, k, d, in_d, channels, RANK, BLOCK_R, BLOCK_D
    )
    A_log2 = load(A + k * slot + nd, inside) * _LOG2_E
    skip = per_channel(D, k * channels + d, in_d, BLOCK_D)
    dt_bias = per_channel(bias, k * channels + d, in_d, BLOCK_D)
    if table is not None:
        table += k * length
    if checkpoints is not None:
        checkpoints += (b * paths + k) * tl.cdiv(length, _CHECKPOINT) * slot + nd

    h = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    for first in range(0, length, _CHECKPOINT):
        if checkpoints is not None:
            tl.store(checkpoints, h, mask=inside)
            checkpoints += slot
        for t in range(first, tl.minimum(first + _CHECKPOINT, length), _GROUP):
            (p0, dt0, _, x0, B0, p1, dt1, _, x1, B1, p2, dt2, _, x2, B2, p3, dt3, _, x3, B3) = (
                load_group(
                    table, code, t, length, width, x, x_p, step, step_p, weight, dt_bias, B, BC_p,
                    in_d, in_r, in_n, RANK, SOFTPLUS,
                )
            )  # fmt: skip
            C0 = load(C + p0 * BC_p, both(in_n, t < length))
            C1 = load(C + p1 * BC_p, both(in_n, t + 1 < length))
            C2 = load(C + p2 * BC_p, both(in_n, t + 2 < length))
            C3 = load(C + p3 * BC_p, both(in_n, t + 3 < length))

            h, _ = advance(h, A_log2, dt0, x0, B0)
            y0 = tl.sum(h * C0[:, None], 0) + skip * x0
            h, _ = advance(h, A_log2, dt1, x1, B1)
            y1 = tl.sum(h * C1[:, None], 0) + skip * x1
            h, _ = advance(h, A_log2, dt2, x2, B2)
            y2 = tl.sum(h * C2[:, None], 0) + skip * x2
            h, _ = advance(h, A_log2, dt3, x3, B3)
            y3 = tl.sum(h * C3[:, None], 0) + skip * x3
            tl.store(y + p0 * channels, y0, mask=both(in_d, t < length))
            tl.store(y + p1 * channels, y1, mask=both(in_d, t + 1 < length))
            tl.store(y + p2 * channels, y2, mask=both(in_d, t + 2 < length))
            tl.store(y + p3 * channels, y3, mask=both(in_d, t + 3 < length))
    if last_state is not None:
        tl.store(last_state + (b * paths + k) * slot + nd, h, mask=inside)
