"""Every backend against the sequential reference in float64."""

import golden
import pytest
import torch
import torch.nn.functional as F
from scan_cases import RUNNABLE, compare, scan_arguments, ss2d_arguments

from tinyvim_mm.ops import BIDIRECTIONAL, CROSS_SCAN, selective_scan, ss2d
from tinyvim_mm.ops.backends.parallel import _doubling, _LinearRecurrence, _stepwise

BACKENDS = [name for name in RUNNABLE if name != 'reference']
LENGTHS = [1, 2, 31, 32, 33, 49, 256, 1050, 2049]


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('length', LENGTHS)
def test_selective_scan_over_lengths(length, backend):
    arguments = scan_arguments(length)
    compare(selective_scan, arguments.values(), backend, 1e-5, delta_softplus=True)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('N', [1, 4, 8, 16, 64])
def test_selective_scan_over_states(N, backend):
    arguments = scan_arguments(33, N=N, dim=7, groups=1)
    compare(selective_scan, arguments.values(), backend, 1e-5, delta_softplus=True)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (7, 7), (16, 16), (25, 42)])
@pytest.mark.parametrize('N', [1, 8])
def test_ss2d_over_sizes(size, N, backend):
    compare(ss2d, ss2d_arguments(*size, N=N), backend, 1e-5)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize(('dtype', 'limit'), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_ss2d_in_half_precision(dtype, limit, backend):
    arguments = [a.to(dtype) for a in ss2d_arguments(7, 7)]
    compare(ss2d, arguments, backend, limit)


@pytest.mark.parametrize('backend', BACKENDS)
def test_ss2d_reads_any_strides(backend):
    x, *weights = ss2d_arguments(6, 10, d=4)
    expected = ss2d(x, *weights, backend=backend)
    strided = torch.zeros(2, 4, 12, 20)[:, :, ::2, ::2].copy_(x)
    for other in (x.to(memory_format=torch.channels_last), strided):
        golden.assert_close('y', ss2d(other, *weights, backend=backend), expected, 1e-6)


@pytest.mark.parametrize('backend', BACKENDS)
def test_ss2d_takes_other_paths(backend):
    compare(ss2d, ss2d_arguments(4, 6, K=2), backend, 1e-5, paths=BIDIRECTIONAL)


@pytest.mark.parametrize('backend', [*BACKENDS, 'reference'])
def test_autocast_does_not_lower_the_precision(backend):
    arguments = ss2d_arguments(7, 7)
    expected = ss2d(*arguments, backend=backend)
    with torch.autocast('cpu', torch.bfloat16):
        golden.assert_close('y', ss2d(*arguments, backend=backend), expected, 1e-6)


@pytest.mark.parametrize('backend', [*BACKENDS, 'reference'])
def test_last_state_continues_the_recurrence(backend):
    a = scan_arguments(20, groups=1)
    _, state = selective_scan(**a, delta_softplus=True, return_last_state=True, backend=backend)
    dt = F.softplus(a['delta'] + a['delta_bias'][:, None])
    h = torch.zeros(2, 4, 8)
    for t in range(20):
        step = dt[:, :, t, None]
        h = (step * a['A']).exp() * h + step * a['B'][:, :, :, t] * a['u'][:, :, t, None]
    golden.assert_close('state', state, h, 1e-5)


@pytest.mark.parametrize('backend', [*BACKENDS, 'reference'])
def test_constant_and_ungrouped_coefficients(backend):
    a = scan_arguments(12, groups=1)
    B, C = torch.randn(4, 8), torch.randn(4, 8)
    constant = selective_scan(a['u'], a['delta'], a['A'], B, C, backend=backend)
    spread = [m[None, :, :, None].expand(2, 4, 8, 12) for m in (B, C)]
    expected = selective_scan(a['u'], a['delta'], a['A'], *spread, backend=backend)
    golden.assert_close('constant', constant, expected, 1e-6)
    three = selective_scan(a['u'], a['delta'], a['A'], a['B'][:, 0], a['C'], backend=backend)
    four = selective_scan(a['u'], a['delta'], a['A'], a['B'], a['C'], backend=backend)
    assert torch.equal(three, four)


def test_softplus_makes_steps_positive():
    u, B = torch.ones(1, 1, 1), torch.ones(1, 1, 1, 1)
    A, delta = torch.zeros(1, 1), torch.full((1, 1, 1), -3.0)
    y = selective_scan(u, delta, A, B, B, delta_softplus=True)
    assert y.item() == pytest.approx(F.softplus(torch.tensor(-3.0)).item())


@pytest.mark.parametrize('backend', ['parallel', 'reference'])
def test_gradcheck(backend):
    arguments = [
        a.requires_grad_()
        for a in ss2d_arguments(2, 3, d=2, R=1, N=2, batch=1, dtype=torch.float64)
    ]
    assert torch.autograd.gradcheck(lambda *a: ss2d(*a, backend=backend), arguments)


def test_the_recurrence_is_differentiable_twice():
    a, b = torch.rand(2, 7, 3, dtype=torch.float64).requires_grad_().unbind()
    inputs = [t.detach().requires_grad_() for t in (a, b)]
    for reverse in (False, True):
        assert torch.autograd.gradgradcheck(
            lambda a, b, reverse=reverse: _LinearRecurrence.apply(a, b, reverse), inputs
        )


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('length', [1, 2, 3, 31, 32, 33])
def test_doubling_equals_stepping(length, reverse):
    a, b = torch.rand(length, 5, dtype=torch.float64), torch.randn(length, 5, dtype=torch.float64)
    expected = _stepwise(a, b, reverse)
    golden.assert_close('h', _doubling(a, b, reverse), expected, 1e-12)


@pytest.mark.parametrize('backend', [*BACKENDS, 'reference'])
def test_results_repeat_bit_by_bit(backend):
    arguments = [a.requires_grad_() for a in ss2d_arguments(9, 11)]
    runs = []
    for _ in range(3):
        y = ss2d(*arguments, backend=backend)
        runs.append([y, *torch.autograd.grad(y.square().sum(), arguments)])
    for run in runs[1:]:
        assert all(torch.equal(first, later) for first, later in zip(runs[0], run, strict=True))


@pytest.mark.parametrize('backend', [*BACKENDS, 'reference'])
def test_nan_passes_through_visibly(backend):
    x, *weights = ss2d_arguments(3, 3)
    x[0, 0, 1, 1] = float('nan')
    y = ss2d(x, *weights, backend=backend)
    assert y[0].isnan().any()
    assert not y[1].isnan().any()


@pytest.mark.parametrize('backend', [*BACKENDS, 'reference'])
@pytest.mark.parametrize(('batch', 'height'), [(0, 4), (2, 0)])
def test_empty_maps_give_empty_results(batch, height, backend):
    arguments = ss2d_arguments(height, 5, batch=batch)
    assert ss2d(*arguments, backend=backend).shape == (batch, 5, height, 5)


def test_the_default_paths_are_the_four_directions():
    arguments = ss2d_arguments(5, 4)
    assert torch.equal(ss2d(*arguments), ss2d(*arguments, paths=CROSS_SCAN))


@pytest.mark.parametrize('threads', [1, 2])
@pytest.mark.parametrize('backend', RUNNABLE)
def test_ten_runs_are_bit_identical(backend, threads):
    arguments = [a.requires_grad_() for a in ss2d_arguments(7, 11, d=24)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        runs = []
        for _ in range(10):
            y = ss2d(*arguments, backend=backend)
            runs.append([y, *torch.autograd.grad(y.square().sum(), arguments)])
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(first, later) for first, later in zip(runs[0], run, strict=True))
