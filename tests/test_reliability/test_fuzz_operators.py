"""Any shapes, strides and types, right or wrong; many calls; many threads.

``make fuzz`` runs these with ten thousand cases each (hypothesis' profile
``thorough``, in ``tests/conftest.py``).
"""

import resource
import sys
from concurrent.futures import ThreadPoolExecutor

import golden
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scan_cases import (
    RUNNABLE,
    double_reference,
    needs_library,
    result_and_gradients,
    scan_arguments,
    ss2d_arguments,
)

from tinyvim_mm.models import TinyViM
from tinyvim_mm.ops import BIDIRECTIONAL, CROSS_SCAN, selective_scan, ss2d
from tinyvim_mm.ops.backends import triton_support

BACKENDS = [*(name for name in RUNNABLE if name != 'reference'), 'exportable']
fuzz = settings(deadline=None, suppress_health_check=list(HealthCheck))

#: Relative L2 errors that rounding of the result to the type explains.
LIMITS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
dtypes = st.sampled_from(list(LIMITS))
layouts = st.sampled_from(['contiguous', 'permuted', 'strided', 'expanded', 'offset'])


def laid_out(x, layout):
    """The same values, or for 'expanded' repeated ones, with other strides."""
    if layout == 'permuted':
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == 'strided':
        return torch.zeros(*x.shape[:-1], 3 * x.shape[-1]).to(x)[..., ::3].copy_(x)
    if layout == 'expanded':
        return x[:, :1].expand_as(x)
    if layout == 'offset':
        return torch.cat([x.new_zeros(3), x.flatten()])[3:].view(x.shape)
    return x


def assert_right(function, arguments, backend, dtype, **options):
    """Compare result and gradients with the sequential form in float64 on the same values."""
    cotangent = torch.randn(arguments[0].shape).to(dtype)
    y, gradients = result_and_gradients(function, arguments, backend, cotangent, **options)
    expected, truth = double_reference(function, arguments, cotangent, **options)
    assert y.dtype == dtype
    assert y.isfinite().all()
    moves = None
    pairs = zip([y, *gradients], [expected, *truth], strict=True)
    for i, (one, other) in enumerate(pairs):
        assert one.shape == other.shape
        limit = LIMITS[dtype] * (5 if i else 1)
        if golden.relative_error(one, other) <= limit:
            continue
        # Few results need more than that: see below, and those smaller than what the type holds.
        if moves is None:
            moves = moves_under_rounding(function, arguments, cotangent, dtype, options)
        smallest = torch.finfo(one.dtype).smallest_normal * torch.finfo(one.dtype).eps
        allowed = limit * other.norm() + 10 * moves[i] + smallest * one.numel() ** 0.5
        error = (one - other).norm()
        name = f'gradient {i - 1}' if i else 'y'
        assert error <= allowed, f'{name}: an error of {error:.2e}, {allowed:.2e} is explained'


def moves_under_rounding(function, arguments, cotangent, dtype, options):
    """How far result and gradients move if every input moves by one rounding of the type.

    Terms may cancel: a sum that is small beside them can be no more exact than this,
    whatever its order.
    """
    arguments = [a.detach().double() for a in arguments]
    y, gradients = double_reference(function, arguments, cotangent, **options)
    still = [y, *gradients]
    moves = [0.0] * len(still)
    rounding = torch.finfo(dtype).eps / 2
    for _ in range(4):
        moved = [a * (1 + rounding * torch.randn(a.shape, dtype=a.dtype)) for a in arguments]
        y, gradients = double_reference(function, moved, cotangent, **options)
        for i, (a, b) in enumerate(zip(still, [y, *gradients], strict=True)):
            moves[i] = max(moves[i], float((a - b).norm()))
    return moves


SS2D_CASES = dict(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 3),
    d=st.integers(1, 70),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    N=st.integers(1, 20),
    R=st.integers(1, 9),
    paths=st.sampled_from(
        [CROSS_SCAN, BIDIRECTIONAL, CROSS_SCAN[1:2], CROSS_SCAN[2:3], CROSS_SCAN[::-1]]
    ),
    table=st.booleans(),
    layout=layouts,
    dtype=dtypes,
)


def check_ss2d(backend, seed, batch, d, height, width, N, R, paths, table, layout, dtype):
    torch.manual_seed(seed)
    if table:
        paths = torch.stack([torch.randperm(height * width) for _ in paths])
    arguments = ss2d_arguments(height, width, d=d, R=R, N=N, K=len(paths), batch=batch)
    x = laid_out(arguments[0].to(dtype), layout)
    assert_right(ss2d, [x, *arguments[1:]], backend, dtype, paths=paths)


SCAN_CASES = dict(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 3),
    length=st.integers(0, 70),
    per_group=st.integers(1, 35),
    groups=st.integers(1, 4),
    N=st.integers(1, 20),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    softplus=st.booleans(),
    layout=layouts,
    dtype=dtypes,
)


def check_selective_scan(
    backend, seed, batch, length, per_group, groups, N, scale, softplus, layout, dtype
):
    torch.manual_seed(seed)
    a = scan_arguments(length, N=N, dim=groups * per_group, groups=groups, batch=batch)
    # Without softplus steps have to be positive.
    a['delta'] = scale * a['delta'] if softplus else 0.2 * a['delta'].abs()
    a['delta_bias'] = 0.1 * a['delta_bias'].abs()
    tensors = [laid_out(a[name].to(dtype), layout) for name in ('u', 'delta')]
    tensors += [a[name] for name in ('A', 'B', 'C', 'D', 'z', 'delta_bias')]
    assert_right(selective_scan, tensors, backend, dtype, delta_softplus=softplus)


@pytest.mark.parametrize('backend', BACKENDS)
@fuzz
@given(**SS2D_CASES)
def test_ss2d(backend, **case):
    check_ss2d(backend, **case)


@pytest.mark.parametrize('backend', BACKENDS)
@fuzz
@given(**SCAN_CASES)
def test_selective_scan(backend, **case):
    check_selective_scan(backend, **case)


# Triton's interpreter takes tenths of a second for a case: fewer, of small sizes.
OBSTACLE = triton_support.obstacle(torch.device('cpu'), torch.float32)
needs_interpreter = pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))
fuzz_triton = settings(fuzz, max_examples=max(12, settings.default.max_examples // 50))
one_or_two = st.integers(1, 2)
few = st.integers(1, 3)


@pytest.mark.slow
@needs_interpreter
@fuzz_triton
@given(**{**SS2D_CASES, 'batch': one_or_two, 'd': few, 'height': one_or_two, 'width': few})
def test_ss2d_in_tritons_interpreter(**case):
    check_ss2d('triton', **case)


@pytest.mark.slow
@needs_interpreter
@fuzz_triton
@given(
    **{
        **SCAN_CASES,
        'batch': one_or_two,
        'length': st.integers(0, 9),
        'per_group': few,
        'groups': one_or_two,
    }
)
def test_selective_scan_in_tritons_interpreter(**case):
    check_selective_scan('triton', **case)


wrong = st.one_of(
    st.none(),
    st.integers(-2, 2),
    st.text(max_size=3),
    st.lists(st.integers(0, 4), max_size=5).map(torch.zeros),
    st.sampled_from([torch.int64, torch.bool, torch.complex64]).map(
        lambda dtype: torch.zeros(2, 5, 3, 4, dtype=dtype)
    ),
)


@pytest.mark.parametrize('backend', RUNNABLE)
@fuzz
@given(position=st.integers(0, 5), value=wrong)
def test_a_wrong_argument_is_named_or_computed_with(backend, position, value):
    names = ('x', 'x_proj_weight', 'dt_projs_weight', 'dt_projs_bias', 'A_logs', 'Ds')
    arguments = list(ss2d_arguments(3, 4))
    arguments[position] = value
    try:
        y = ss2d(*arguments, backend=backend)
    except (TypeError, ValueError) as error:
        message = str(error)
    else:
        assert y.shape == arguments[0].shape
        return
    assert message.startswith('ss2d: ')
    assert any(f' {name} ' in message for name in names), message


# -- many calls, many threads ------------------------------------------------------------


def resident():
    """Bytes of memory that the process holds now."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
@needs_library
def test_no_memory_is_lost_over_many_calls():
    # At the default size of a profile 1,000 calls, at the thorough one 10,000.
    calls = max(1000, settings.default.max_examples)
    arguments = [a.requires_grad_() for a in ss2d_arguments(5, 5, d=16)]

    def call():
        ss2d(*arguments, backend='cpu').sum().backward()
        for argument in arguments:
            argument.grad = None

    for _ in range(100):
        call()
    before = resident()
    for _ in range(calls):
        call()
    grown = resident() - before
    print(f'{grown / 2**20:.2f} MiB more after {calls:,} calls')
    assert grown < 8 * 2**20  # the gradients of one call, left behind, would make 10 times that


def in_threads(function, seeds, threads=8):
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, seeds))


@pytest.mark.parametrize('backend', RUNNABLE)
def test_operators_in_eight_threads_equal_those_in_one(backend):
    def run(seed):
        local = torch.Generator().manual_seed(seed)
        shape = (2, 5, 3 + seed % 5, 4 + seed % 3)
        x = torch.randn(shape, generator=local).requires_grad_()
        leaves = [weight.clone().requires_grad_() for weight in weights]
        y = ss2d(x, *leaves, backend=backend)
        y.square().sum().backward()
        return [y.detach(), x.grad, *(leaf.grad for leaf in leaves)]

    weights = ss2d_arguments(3, 3)[1:]
    seeds = range(64)
    expected = [run(seed) for seed in seeds]
    for one, other in zip(expected, in_threads(run, seeds), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_model_in_eight_threads_equals_that_in_one():
    model = TinyViM({'embed_dims': (8, 8, 16, 16), 'depths': (1, 1, 2, 1)}).eval()

    @torch.no_grad()
    def run(seed):
        return model(
            torch.randn(1, 3, 32 + seed, 40, generator=torch.Generator().manual_seed(seed))
        )

    seeds = range(16)
    expected = [run(seed) for seed in seeds]
    for one, other in zip(expected, in_threads(run, seeds), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
