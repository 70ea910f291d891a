"""The scan and its backward in Triton. Imported only once Triton is needed.

The structure is that of ``kernels/csrc/common/cpu/scan_kernel.h``: tensors lie
position by position with channels (or states) innermost, and a program handles
one tile of channels of one path of one sample. Its state is a tile
``(states, channels)`` in registers with channels along the lanes, so that the
sum over states that gives ``y`` stays within a thread.

Time is walked in groups of four steps, written out: a group's loads do not wait
for the recurrence or for each other, and its four states fit into registers.

Integers are no compile-time constants and Triton does not specialize on them: a
new image size, batch or number of channels compiles nothing.
"""

import triton
import triton.language as tl

#: Positions between two kept states of the first pass of the backward.
SEGMENT = 64
#: Steps that are written out below.
GROUP = 4
#: A path's code takes two bits of one 64-bit integer.
MAX_PATHS = 31

# Global variables that kernels read must be compile-time constants.
_SEGMENT = tl.constexpr(SEGMENT)
_GROUP = tl.constexpr(GROUP)
_LOG2_E = tl.constexpr(1.4426950408889634)
_LN_2 = tl.constexpr(0.6931471805599453)

INTEGERS = [
    *('codes', 'length', 'width', 'paths', 'channels'),
    *(f'{tensor}_{axis}' for tensor in ('x', 'delta', 'BC') for axis in ('b', 'k', 'p')),
]
GRADIENT_INTEGERS = [
    *INTEGERS,
    *(f'{tensor}_{axis}' for tensor in ('dy', 'dBC') for axis in ('b', 'k', 'p')),
    *('dBC_tile', 'kept_slots'),
]


@triton.jit
def _task(paths, channels, BLOCK_D: tl.constexpr):
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
def _four_positions(code, t, length, width):
    p0 = _position(code, t, length, width)
    p1 = _next_position(p0, code, length, width)
    p2 = _next_position(p1, code, length, width)
    p3 = _next_position(p2, code, length, width)
    return p0.to(tl.int64), p1.to(tl.int64), p2.to(tl.int64), p3.to(tl.int64)


@triton.jit
def _both(inside, valid):
    """``inside & valid`` for a tile and a scalar.

    The interpreter turns a condition that it broadcasts into integers and then,
    since 3.7, refuses them as a mask; hence the comparison.
    """
    return (inside & valid) != 0


@triton.jit
def _load(pointers, inside):
    """Values as float32, whatever their type (bf16 arithmetic is NaN in the interpreter)."""
    return tl.load(pointers, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _decay_rates(A, inside, LOG_A: tl.constexpr):
    """``A`` as it is, or from its ``A_logs``."""
    value = _load(A, inside)
    if LOG_A:
        value = -tl.exp(value)
    return value


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
def _load_step(t, p, length, x, x_p, delta, delta_p, bias, B, BC_p, in_d, in_n,
               SOFTPLUS: tl.constexpr):  # fmt: skip
    """What drives the state at one time: step size, its derivative, x and B."""
    valid = t < length
    raw = _load(delta + p * delta_p, _both(in_d, valid)) + bias
    dt, slope = _step_size(raw, valid, SOFTPLUS)
    return (
        dt,
        slope,
        _load(x + p * x_p, _both(in_d, valid)),
        _load(B + p * BC_p, _both(in_n, valid)),
    )


@triton.jit
def _advance(h, A_log2, dt, x, B):
    """State after one step, and the decay that the step applied."""
    decay = tl.exp2(dt[None, :] * A_log2)
    return decay * h + (dt * x)[None, :] * B[:, None], decay


@triton.jit
def _advance_group(h, A_log2, t, code, length, width, x, x_p, delta, delta_p, bias, B, BC_p,
                   in_d, in_n, SOFTPLUS: tl.constexpr):  # fmt: skip
    """State after four steps of which nothing else is wanted."""
    p0, p1, p2, p3 = _four_positions(code, t, length, width)
    dt0, _, x0, B0 = _load_step(
        t, p0, length, x, x_p, delta, delta_p, bias, B, BC_p, in_d, in_n, SOFTPLUS
    )
    dt1, _, x1, B1 = _load_step(
        t + 1, p1, length, x, x_p, delta, delta_p, bias, B, BC_p, in_d, in_n, SOFTPLUS
    )
    dt2, _, x2, B2 = _load_step(
        t + 2, p2, length, x, x_p, delta, delta_p, bias, B, BC_p, in_d, in_n, SOFTPLUS
    )
    dt3, _, x3, B3 = _load_step(
        t + 3, p3, length, x, x_p, delta, delta_p, bias, B, BC_p, in_d, in_n, SOFTPLUS
    )
    h, _ = _advance(h, A_log2, dt0, x0, B0)
    h, _ = _advance(h, A_log2, dt1, x1, B1)
    h, _ = _advance(h, A_log2, dt2, x2, B2)
    h, _ = _advance(h, A_log2, dt3, x3, B3)
    return h


@triton.jit(do_not_specialize=INTEGERS)
def scan_forward(
    x,  # (batch, paths, length, channels), strides x_*
    delta,  # likewise, before bias and softplus, strides delta_*
    B,  # (batch, paths, length, states), strides BC_*
    C,  # likewise
    A,  # (paths, states, channels)
    D,  # (paths, channels) or None
    bias,  # (paths, channels) or None
    y,  # (batch, paths, length, channels)
    last_state,  # (batch, paths, states, channels) or None
    codes,  # two bits per path
    length,
    width,
    paths,
    channels,
    x_b,
    x_k,
    x_p,
    delta_b,
    delta_k,
    delta_p,
    BC_b,
    BC_k,
    BC_p,
    STATES: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    LOG_A: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """The recurrence along one path, for one tile of channels."""
    b, k, tile = _task(paths, channels, BLOCK_D)
    code = ((codes >> (2 * k)) & 3).to(tl.int32)
    d = tile * BLOCK_D + tl.arange(0, BLOCK_D)
    n = tl.arange(0, BLOCK_N)
    in_d, in_n = d < channels, n < STATES
    inside = in_n[:, None] & in_d[None, :]
    kd = k * channels + d
    nd = n[:, None] * channels + d[None, :]
    slot = STATES * channels.to(tl.int64)

    x += b * x_b + k * x_k + d
    delta += b * delta_b + k * delta_k + d
    B += b * BC_b + k * BC_k + n
    C += b * BC_b + k * BC_k + n
    y += (b * paths + k) * length * channels + d
    A_log2 = _decay_rates(A + k * slot + nd, inside, LOG_A) * _LOG2_E
    skip = tl.zeros([BLOCK_D], tl.float32)
    if D is not None:
        skip = _load(D + kd, in_d)
    dt_bias = tl.zeros([BLOCK_D], tl.float32)
    if bias is not None:
        dt_bias = _load(bias + kd, in_d)

    h = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    for t in range(0, length, _GROUP):
        p0, p1, p2, p3 = _four_positions(code, t, length, width)
        dt0, _, x0, B0 = _load_step(
            t, p0, length, x, x_p, delta, delta_p, dt_bias, B, BC_p, in_d, in_n, SOFTPLUS
        )
        dt1, _, x1, B1 = _load_step(
            t + 1, p1, length, x, x_p, delta, delta_p, dt_bias, B, BC_p, in_d, in_n, SOFTPLUS
        )
        dt2, _, x2, B2 = _load_step(
            t + 2, p2, length, x, x_p, delta, delta_p, dt_bias, B, BC_p, in_d, in_n, SOFTPLUS
        )
        dt3, _, x3, B3 = _load_step(
            t + 3, p3, length, x, x_p, delta, delta_p, dt_bias, B, BC_p, in_d, in_n, SOFTPLUS
        )
        C0 = _load(C + p0 * BC_p, _both(in_n, t < length))
        C1 = _load(C + p1 * BC_p, _both(in_n, t + 1 < length))
        C2 = _load(C + p2 * BC_p, _both(in_n, t + 2 < length))
        C3 = _load(C + p3 * BC_p, _both(in_n, t + 3 < length))

        h, _ = _advance(h, A_log2, dt0, x0, B0)
        y0 = tl.sum(h * C0[:, None], 0) + skip * x0
        h, _ = _advance(h, A_log2, dt1, x1, B1)
        y1 = tl.sum(h * C1[:, None], 0) + skip * x1
        h, _ = _advance(h, A_log2, dt2, x2, B2)
        y2 = tl.sum(h * C2[:, None], 0) + skip * x2
        h, _ = _advance(h, A_log2, dt3, x3, B3)
        y3 = tl.sum(h * C3[:, None], 0) + skip * x3
        tl.store(y + p0 * channels, y0, mask=_both(in_d, t < length))
        tl.store(y + p1 * channels, y1, mask=_both(in_d, t + 1 < length))
        tl.store(y + p2 * channels, y2, mask=_both(in_d, t + 2 < length))
        tl.store(y + p3 * channels, y3, mask=_both(in_d, t + 3 < length))
    if last_state is not None:
        tl.store(last_state + (b * paths + k) * slot + nd, h, mask=inside)


@triton.jit
def _retreat(g, grad_A, grad_D, grad_bias, before, after, decay, dt, slope, x, B, C, dy,
             A_log2, skip, valid, p, dx, channels, ddelta, delta_p, dBC, dBC_p, in_d, in_n,
             STATES: tl.constexpr):  # fmt: skip
    """Gradients at one time. ``g`` comes in as dL/dh_t without y_t's part."""
    g += dy[None, :] * C[:, None]
    tl.store(dBC + p * dBC_p, tl.sum(g * (dt * x)[None, :], 1), mask=_both(in_n, valid))
    tl.store(dBC + p * dBC_p + STATES, tl.sum(dy[None, :] * after, 1), mask=_both(in_n, valid))
    g_B = tl.sum(g * B[:, None], 0)
    g *= decay  # now dL/dh_{t-1}
    through_decay = g * before
    grad_dt = tl.sum(through_decay * A_log2, 0) * _LN_2 + g_B * x
    grad_dt = tl.where(valid, grad_dt * slope, 0.0)
    tl.store(ddelta + p * delta_p, grad_dt, mask=_both(in_d, valid))
    tl.store(dx + p * channels, dy * skip + dt * g_B, mask=_both(in_d, valid))
    return g, grad_A + through_decay * dt[None, :], grad_D + dy * x, grad_bias + grad_dt


@triton.jit(do_not_specialize=GRADIENT_INTEGERS)
def scan_backward(
    x,  # inputs and integers as in scan_forward
    delta,
    B,
    C,
    A,
    D,
    bias,
    dy,  # (batch, paths, length, channels), strides dy_*
    dlast_state,  # (batch, paths, states, channels) or None
    kept,  # (batch, paths, kept_slots, states, channels): scratch for states
    dx,  # (batch, paths, length, channels)
    ddelta,  # strides of delta
    dBC,  # (tiles, batch, paths, length, 2 * states), strides dBC_*: B, then C
    dA,  # (batch, paths, states, channels), of A_logs with LOG_A
    dD,  # (batch, paths, channels)
    dbias,  # (batch, paths, channels)
    codes,
    length,
    width,
    paths,
    channels,
    x_b,
    x_k,
    x_p,
    delta_b,
    delta_k,
    delta_p,
    BC_b,
    BC_k,
    BC_p,
    dy_b,
    dy_k,
    dy_p,
    dBC_tile,
    dBC_b,
    dBC_k,
    dBC_p,
    kept_slots,
    STATES: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    LOG_A: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """All gradients of one path and one tile of channels.

    The recurrence is never inverted. A first pass keeps the state at the start
    of every segment. From the last segment to the first, a second pass keeps
    the state at the start of every group of the segment, and a third one, from
    the last group to the first, recomputes four states in registers and takes
    the gradients. So scratch grows with ``length / SEGMENT`` only, and a
    sequence of at most one segment skips the first pass.
    """
    b, k, tile = _task(paths, channels, BLOCK_D)
    code = ((codes >> (2 * k)) & 3).to(tl.int32)
    d = tile * BLOCK_D + tl.arange(0, BLOCK_D)
    n = tl.arange(0, BLOCK_N)
    in_d, in_n = d < channels, n < STATES
    inside = in_n[:, None] & in_d[None, :]
    bk = b * paths + k
    kd = k * channels + d
    nd = n[:, None] * channels + d[None, :]
    slot = STATES * channels.to(tl.int64)

    x += b * x_b + k * x_k + d
    delta += b * delta_b + k * delta_k + d
    ddelta += b * delta_b + k * delta_k + d
    B += b * BC_b + k * BC_k + n
    C += b * BC_b + k * BC_k + n
    dy += b * dy_b + k * dy_k + d
    dx += bk * length * channels + d
    dBC += tile.to(tl.int64) * dBC_tile + b * dBC_b + k * dBC_k + n
    kept += bk * kept_slots * slot + nd
    segments = tl.cdiv(length, _SEGMENT)
    groups_kept = kept + (segments - 1) * slot

    A_log2 = _decay_rates(A + k * slot + nd, inside, LOG_A) * _LOG2_E
    skip = tl.zeros([BLOCK_D], tl.float32)
    if D is not None:
        skip = _load(D + kd, in_d)
    dt_bias = tl.zeros([BLOCK_D], tl.float32)
    if bias is not None:
        dt_bias = _load(bias + kd, in_d)

    # Slot i holds the state at the start of segment i + 1.
    h = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    for segment in range(segments - 1):
        for t in range(segment * _SEGMENT, (segment + 1) * _SEGMENT, _GROUP):
            h = _advance_group(
                h, A_log2, t, code, length, width,
                x, x_p, delta, delta_p, dt_bias, B, BC_p, in_d, in_n, SOFTPLUS,
            )  # fmt: skip
        tl.store(kept + segment * slot, h, mask=inside)

    g = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    if dlast_state is not None:
        g = _load(dlast_state + bk * slot + nd, inside)
    grad_A = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    grad_D = tl.zeros([BLOCK_D], tl.float32)
    grad_bias = tl.zeros([BLOCK_D], tl.float32)
    for later in range(segments):
        segment = segments - 1 - later
        first = segment * _SEGMENT
        groups = tl.cdiv(tl.minimum(length - first, _SEGMENT), _GROUP)
        # What threads wrote is read by others, here and after the loop.
        tl.debug_barrier()
        h = tl.load(kept + (segment - 1) * slot, mask=_both(inside, segment > 0), other=0.0)
        for group in range(groups - 1):
            tl.store(groups_kept + group * slot, h, mask=inside)
            h = _advance_group(
                h, A_log2, first + group * _GROUP, code, length, width,
                x, x_p, delta, delta_p, dt_bias, B, BC_p, in_d, in_n, SOFTPLUS,
            )  # fmt: skip
        tl.store(groups_kept + (groups - 1) * slot, h, mask=inside)
        tl.debug_barrier()

        for group_later in range(groups):
            group = groups - 1 - group_later
            t = first + group * _GROUP
            p0, p1, p2, p3 = _four_positions(code, t, length, width)
            in0, in1, in2, in3 = t < length, t + 1 < length, t + 2 < length, t + 3 < length
            h0 = tl.load(groups_kept + group * slot, mask=inside, other=0.0)
            dt0, slope0, x0, B0 = _load_step(
                t, p0, length, x, x_p, delta, delta_p, dt_bias, B, BC_p, in_d, in_n, SOFTPLUS
            )
            dt1, slope1, x1, B1 = _load_step(
                t + 1, p1, length, x, x_p, delta, delta_p, dt_bias, B, BC_p, in_d, in_n, SOFTPLUS
            )
            dt2, slope2, x2, B2 = _load_step(
                t + 2, p2, length, x, x_p, delta, delta_p, dt_bias, B, BC_p, in_d, in_n, SOFTPLUS
            )
            dt3, slope3, x3, B3 = _load_step(
                t + 3, p3, length, x, x_p, delta, delta_p, dt_bias, B, BC_p, in_d, in_n, SOFTPLUS
            )
            C0, dy0 = (
                _load(C + p0 * BC_p, _both(in_n, in0)),
                _load(dy + p0 * dy_p, _both(in_d, in0)),
            )
            C1, dy1 = (
                _load(C + p1 * BC_p, _both(in_n, in1)),
                _load(dy + p1 * dy_p, _both(in_d, in1)),
            )
            C2, dy2 = (
                _load(C + p2 * BC_p, _both(in_n, in2)),
                _load(dy + p2 * dy_p, _both(in_d, in2)),
            )
            C3, dy3 = (
                _load(C + p3 * BC_p, _both(in_n, in3)),
                _load(dy + p3 * dy_p, _both(in_d, in3)),
            )

            h1, decay0 = _advance(h0, A_log2, dt0, x0, B0)
            h2, decay1 = _advance(h1, A_log2, dt1, x1, B1)
            h3, decay2 = _advance(h2, A_log2, dt2, x2, B2)
            h4, decay3 = _advance(h3, A_log2, dt3, x3, B3)
            g, grad_A, grad_D, grad_bias = _retreat(
                g, grad_A, grad_D, grad_bias, h3, h4, decay3, dt3, slope3, x3, B3, C3, dy3,
                A_log2, skip, in3, p3, dx, channels, ddelta, delta_p, dBC, dBC_p,
                in_d, in_n, STATES,
            )  # fmt: skip
            g, grad_A, grad_D, grad_bias = _retreat(
                g, grad_A, grad_D, grad_bias, h2, h3, decay2, dt2, slope2, x2, B2, C2, dy2,
                A_log2, skip, in2, p2, dx, channels, ddelta, delta_p, dBC, dBC_p,
                in_d, in_n, STATES,
            )  # fmt: skip
            g, grad_A, grad_D, grad_bias = _retreat(
                g, grad_A, grad_D, grad_bias, h1, h2, decay1, dt1, slope1, x1, B1, C1, dy1,
                A_log2, skip, in1, p1, dx, channels, ddelta, delta_p, dBC, dBC_p,
                in_d, in_n, STATES,
            )  # fmt: skip
            g, grad_A, grad_D, grad_bias = _retreat(
                g, grad_A, grad_D, grad_bias, h0, h1, decay0, dt0, slope0, x0, B0, C0, dy0,
                A_log2, skip, in0, p0, dx, channels, ddelta, delta_p, dBC, dBC_p,
                in_d, in_n, STATES,
            )  # fmt: skip

    if LOG_A:
        grad_A *= A_log2 * _LN_2  # dA / dA_logs = A
    tl.store(dA + bk * slot + nd, grad_A, mask=inside)
    tl.store(dD + bk * channels + d, grad_D, mask=in_d)
    tl.store(dbias + bk * channels + d, grad_bias, mask=in_d)
