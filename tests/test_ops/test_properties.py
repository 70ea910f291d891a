"""Shapes, strides and values that nobody thought of (hypothesis)."""

import golden
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_cases import RUNNABLE, scan_arguments, ss2d_arguments

from tinyvim_mm.ops import BIDIRECTIONAL, CROSS_SCAN, selective_scan, ss2d

BACKENDS = [name for name in RUNNABLE if name != 'reference']
# The scan is deterministic: a failure repeats, so a few dozen cases a run do.
few = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.mark.parametrize('backend', BACKENDS)
@few
@given(
    batch=st.integers(1, 3),
    d=st.integers(1, 70),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    N=st.integers(1, 20),
    R=st.integers(1, 8),
    paths=st.sampled_from([CROSS_SCAN, BIDIRECTIONAL, CROSS_SCAN[2:3]]),
    layout=st.sampled_from(['contiguous', 'channels_last', 'strided', 'expanded']),
)
def test_ss2d(backend, batch, d, height, width, N, R, paths, layout):
    x, *weights = ss2d_arguments(height, width, d=d, R=R, N=N, K=len(paths), batch=batch)
    if layout == 'channels_last':
        x = x.to(memory_format=torch.channels_last)
    elif layout == 'strided':
        x = torch.zeros(batch, d, 2 * height, 3 * width)[:, :, ::2, ::3].copy_(x)
    elif layout == 'expanded':
        x = x[:, :1].expand(-1, d, -1, -1)
    y = ss2d(x, *weights, paths=paths, backend=backend)
    truth = [t.double() for t in (x, *weights)]
    expected = ss2d(*truth, paths=paths, backend='reference')
    golden.assert_close('y', y, expected, 1e-5)


@pytest.mark.parametrize('backend', BACKENDS)
@few
@given(
    length=st.integers(0, 70),
    per_group=st.integers(1, 35),
    groups=st.integers(1, 4),
    N=st.integers(1, 20),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
)
def test_selective_scan_for_any_size_of_steps(backend, length, per_group, groups, N, scale):
    a = scan_arguments(length, N=N, dim=groups * per_group, groups=groups)
    a['delta'] = a['delta'] * scale
    y = selective_scan(**a, delta_softplus=True, backend=backend)
    truth = {name: tensor.double() for name, tensor in a.items()}
    expected = selective_scan(**truth, delta_softplus=True, backend='reference')
    assert y.isfinite().all()
    golden.assert_close('y', y, expected, 1e-5)


@pytest.mark.parametrize('backend', RUNNABLE)
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_what_is_not_finite_passes_through_visibly(backend, value):
    x, *weights = ss2d_arguments(3, 3)
    x[0, 2, 1, 1] = value
    y = ss2d(x, *weights, backend=backend)
    assert not y[0].isfinite().all()
    assert y[1].isfinite().all()


@pytest.mark.parametrize('backend', RUNNABLE)
@pytest.mark.parametrize('A', [-1e-6, -1.0, -1e4])
@pytest.mark.parametrize('delta', [-50.0, 0.0, 19.9, 20.1, 80.0])
def test_extreme_decays_and_steps(backend, A, delta):
    a = scan_arguments(6, N=4, dim=2, groups=1)
    a['A'] = torch.full_like(a['A'], A)
    a['delta'] = torch.full_like(a['delta'], delta)
    a['delta_bias'] = torch.zeros_like(a['delta_bias'])
    y = selective_scan(**a, delta_softplus=True, backend=backend)
    truth = {name: tensor.double() for name, tensor in a.items()}
    expected = selective_scan(**truth, delta_softplus=True, backend='reference')
    assert y.isfinite().all()
    golden.assert_close('y', y, expected, 1e-5)
