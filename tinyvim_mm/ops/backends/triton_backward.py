"""The backward of the scan in Triton, see ``triton_kernels.py``."""

import triton
import triton.language as tl

from .registration import CHECKPOINT
from .triton_kernels import (
    INTEGERS,
    advance,
    both,
    load,
    load_group,
    per_channel,
    step_source,
    task,
)

# Global variables that kernels read must be compile-time constants.
_CHECKPOINT = tl.constexpr(CHECKPOINT)
_GROUP = tl.constexpr(4)
_LOG2_E = tl.constexpr(1.4426950408889634)
_LN_2 = tl.constexpr(0.6931471805599453)

#: Arguments that are integers.
GRADIENT_INTEGERS = [*INTEGERS, 'dy_b', 'dy_k', 'dy_p']


@triton.jit
def _advance_group(h, A_log2, table, code, t, length, width, x, x_p, step, step_p, weight, bias,
                   B, BC_p, in_d, in_r, in_n, RANK: tl.constexpr,
                   SOFTPLUS: tl.constexpr):  # fmt: skip
    """State after four steps of which nothing else is wanted."""
    (_, dt0, _, x0, B0, _, dt1, _, x1, B1, _, dt2, _, x2, B2, _, dt3, _, x3, B3) = (
        load_group(
            table, code, t, length, width, x, x_p, step, step_p, weight, bias, B, BC_p,
            in_d, in_r, in_n, RANK, SOFTPLUS,
        )
    )  # fmt: skip
    h, _ = advance(h, A_log2, dt0, x0, B0)
    h, _ = advance(h, A_log2, dt1, x1, B1)
    h, _ = advance(h, A_log2, dt2, x2, B2)
    h, _ = advance(h, A_log2, dt3, x3, B3)
    return h


@triton.jit
def _retreat(g, grad_A, grad_D, grad_bias, before, after, decay, dt, slope, x, B, C, dy,
             A_log2, skip, valid, p, dx, draw, channels, dB, dC, in_d, in_n,
             STATES: tl.constexpr):  # fmt: skip
    """Gradients at one time. ``g`` comes in as dL/dh_t without y_t's part."""
    g += dy[None, :] * C[:, None]
    tl.store(dB + p * STATES, tl.sum(g * (dt * x)[None, :], 1), mask=both(in_n, valid))
    tl.store(dC + p * STATES, tl.sum(dy[None, :] * after, 1), mask=both(in_n, valid))
    g_B = tl.sum(g * B[:, None], 0)
    g *= decay  # now dL/dh_{t-1}
    through_decay = g * before
    grad_dt = tl.sum(through_decay * A_log2, 0) * _LN_2 + g_B * x
    grad_raw = tl.where(valid, grad_dt * slope, 0.0)
    tl.store(draw + p * channels, grad_raw, mask=both(in_d, valid))
    tl.store(dx + p * channels, dy * skip + dt * g_B, mask=both(in_d, valid))
    return g, grad_A + through_decay * dt[None, :], grad_D + dy * x, grad_bias + grad_raw


@triton.jit(do_not_specialize=GRADIENT_INTEGERS)
def scan_backward(
    x,  # inputs and integers as in scan_forward
    step,
    step_weight,
    B,
    C,
    A,
    D,
    bias,
    table,
    checkpoints,
    dy,  # (batch, paths, length, channels), strides dy_*
    dlast_state,  # (batch, paths, states, channels) or None
    dx,  # (batch, paths, length, channels)
    draw,  # (paths, batch, length, channels), of steps before softplus
    dB,  # (tiles, batch, paths, length, states)
    dC,  # likewise
    dA,  # (batch, paths, states, channels)
    dD,  # (batch, paths, channels)
    dbias,  # (batch, paths, channels)
    codes,
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
    dy_b,
    dy_k,
    dy_p,
    STATES: tl.constexpr,
    RANK: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    """All gradients of one path and one tile of channels.

    The recurrence is never inverted. From the last checkpoint to the first, one
    pass keeps the state at the start of every group of four steps in registers,
    and a second one, from the last group to the first, recomputes its states and
    takes the gradients.
    """
    b, k, tile = task(paths, channels, BLOCK_D)
    code = ((codes >> (2 * k)) & 3).to(tl.int32)
    d = tile * BLOCK_D + tl.arange(0, BLOCK_D)
    n = tl.arange(0, BLOCK_N)
    in_d, in_n = d < channels, n < STATES
    inside = in_n[:, None] & in_d[None, :]
    bk = b * paths + k
    nd = n[:, None] * channels + d[None, :]
    slot = STATES * channels.to(tl.int64)

    x += b * x_b + k * x_k + d
    B += b * BC_b + k * BC_k + n
    C += b * BC_b + k * BC_k + n
    dy += b * dy_b + k * dy_k + d
    dx += bk * length * channels + d
    draw += (k * batch + b) * length * channels + d
    partial = (tile.to(tl.int64) * batch * paths + bk) * length * STATES + n
    dB += partial
    dC += partial
    step, weight, in_r = step_source(
        step + b * step_b + k * step_k, step_weight, k, d, in_d, channels, RANK, BLOCK_R, BLOCK_D
    )
    A_log2 = load(A + k * slot + nd, inside) * _LOG2_E
    skip = per_channel(D, k * channels + d, in_d, BLOCK_D)
    dt_bias = per_channel(bias, k * channels + d, in_d, BLOCK_D)
    if table is not None:
        table += k * length
    segments = tl.cdiv(length, _CHECKPOINT)
    checkpoints += bk * segments * slot + nd

    g = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    if dlast_state is not None:
        g = load(dlast_state + bk * slot + nd, inside)
    grad_A = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    grad_D = tl.zeros([BLOCK_D], tl.float32)
    grad_bias = tl.zeros([BLOCK_D], tl.float32)
    for later in range(segments):
        segment = segments - 1 - later
        first = segment * _CHECKPOINT
        groups = tl.cdiv(tl.minimum(length - first, _CHECKPOINT), _GROUP)
        start0 = load(checkpoints + segment * slot, inside)
        h, start1, start2, start3 = start0, start0, start0, start0
        for group in range(1, groups):
            h = _advance_group(
                h, A_log2, table, code, first + (group - 1) * _GROUP, length, width,
                x, x_p, step, step_p, weight, dt_bias, B, BC_p, in_d, in_r, in_n, RANK, SOFTPLUS,
            )  # fmt: skip
            start1 = tl.where(group == 1, h, start1)
            start2 = tl.where(group == 2, h, start2)
            start3 = h

        for group_later in range(groups):
            group = groups - 1 - group_later
            t = first + group * _GROUP
            in0, in1, in2, in3 = t < length, t + 1 < length, t + 2 < length, t + 3 < length
            h0 = tl.where(group < 1, start0, start1)
            h0 = tl.where(group < 2, h0, tl.where(group < 3, start2, start3))
            (p0, dt0, slope0, x0, B0, p1, dt1, slope1, x1, B1,
             p2, dt2, slope2, x2, B2, p3, dt3, slope3, x3, B3) = load_group(
                table, code, t, length, width, x, x_p, step, step_p, weight, dt_bias, B, BC_p,
                in_d, in_r, in_n, RANK, SOFTPLUS,
            )  # fmt: skip
            C0, dy0 = load(C + p0 * BC_p, both(in_n, in0)), load(dy + p0 * dy_p, both(in_d, in0))
            C1, dy1 = load(C + p1 * BC_p, both(in_n, in1)), load(dy + p1 * dy_p, both(in_d, in1))
            C2, dy2 = load(C + p2 * BC_p, both(in_n, in2)), load(dy + p2 * dy_p, both(in_d, in2))
            C3, dy3 = load(C + p3 * BC_p, both(in_n, in3)), load(dy + p3 * dy_p, both(in_d, in3))

            h1, decay0 = advance(h0, A_log2, dt0, x0, B0)
            h2, decay1 = advance(h1, A_log2, dt1, x1, B1)
            h3, decay2 = advance(h2, A_log2, dt2, x2, B2)
            h4, decay3 = advance(h3, A_log2, dt3, x3, B3)
            g, grad_A, grad_D, grad_bias = _retreat(
                g, grad_A, grad_D, grad_bias, h3, h4, decay3, dt3, slope3, x3, B3, C3, dy3,
                A_log2, skip, in3, p3, dx, draw, channels, dB, dC, in_d, in_n, STATES,
            )  # fmt: skip
            g, grad_A, grad_D, grad_bias = _retreat(
                g, grad_A, grad_D, grad_bias, h2, h3, decay2, dt2, slope2, x2, B2, C2, dy2,
                A_log2, skip, in2, p2, dx, draw, channels, dB, dC, in_d, in_n, STATES,
            )  # fmt: skip
            g, grad_A, grad_D, grad_bias = _retreat(
                g, grad_A, grad_D, grad_bias, h1, h2, decay1, dt1, slope1, x1, B1, C1, dy1,
                A_log2, skip, in1, p1, dx, draw, channels, dB, dC, in_d, in_n, STATES,
            )  # fmt: skip
            g, grad_A, grad_D, grad_bias = _retreat(
                g, grad_A, grad_D, grad_bias, h0, h1, decay0, dt0, slope0, x0, B0, C0, dy0,
                A_log2, skip, in0, p0, dx, draw, channels, dB, dC, in_d, in_n, STATES,
            )  # fmt: skip

    tl.store(dA + bk * slot + nd, grad_A, mask=inside)
    tl.store(dD + bk * channels + d, grad_D, mask=in_d)
    tl.store(dbias + bk * channels + d, grad_bias, mask=in_d)
