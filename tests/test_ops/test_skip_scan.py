"""The scan of skip-sampled grids."""

from functools import partial

import golden
import pytest
import torch
from scan_cases import RUNNABLE, needs_library, ss2d_arguments
from torch_abilities import needs_opcheck

pytest.importorskip('mmengine')

from tinyvim_mm.export import scan as exported
from tinyvim_mm.ops import available_backends, scan_skipping, selective_scan, ss2d

SIZES = [(1, 1), (4, 6), (5, 6), (4, 3), (7, 5)]
#: (first row, first column, whether columns are read) of each grid.
GRIDS = ((0, 0, False), (1, 0, True), (0, 1, False), (1, 1, True))


def written_out(x, x_proj, dt_projs, dt_bias, A_logs, Ds):
    """Each grid as a sequence, by the one-dimensional scan."""
    batch, d, height, width = x.shape
    padded = x.new_zeros(batch, d, height + height % 2, width + width % 2)
    padded[:, :, :height, :width] = x
    result = torch.empty_like(padded)
    N, R = A_logs.shape[1], dt_projs.shape[2]
    for k, (row, column, columns_first) in enumerate(GRIDS):
        grid = padded[:, :, row::2, column::2]
        grid = grid.transpose(2, 3) if columns_first else grid
        u = grid.flatten(2)
        low, B, C = torch.einsum('cd,bdl->bcl', x_proj[k], u).split([R, N, N], dim=1)
        own = slice(k * d, (k + 1) * d)
        y = selective_scan(
            u,
            torch.einsum('dr,brl->bdl', dt_projs[k], low),
            -A_logs[own].exp(),
            B,
            C,
            Ds[own],
            delta_bias=dt_bias[k],
            delta_softplus=True,
            backend='reference',
        ).unflatten(2, grid.shape[2:])
        result[:, :, row::2, column::2] = y.transpose(2, 3) if columns_first else y
    return result[:, :, :height, :width]


@pytest.mark.parametrize('backend', [*RUNNABLE, 'triton'])
@pytest.mark.parametrize('size', SIZES)
def test_values_and_gradients(size, backend):
    obstacle = available_backends('cpu')[backend]
    if obstacle is not None:  # Triton where it is not installed
        pytest.skip(obstacle)
    arguments = [a.requires_grad_() for a in ss2d_arguments(*size, N=16)]
    exact = [a.detach().double().requires_grad_() for a in arguments]
    cotangent = torch.randn(arguments[0].shape)
    y = scan_skipping(partial(ss2d, backend=backend), *arguments)
    y.backward(cotangent)
    expected = written_out(*exact)
    expected.backward(cotangent.double())
    golden.assert_close('y', y, expected, 1e-5)
    for i, (a, b) in enumerate(zip(arguments, exact, strict=True)):
        if b.grad.norm() == 0:  # of a decay, where there is one position
            assert a.grad.norm() == 0
        else:
            golden.assert_close(f'gradient {i}', a.grad, b.grad, 5e-5)


@pytest.mark.parametrize('dynamic_size', [False, True], ids=['fixed', 'dynamic'])
@pytest.mark.parametrize('size', SIZES[1:])
def test_the_exported_form(size, dynamic_size):
    x, *weights = ss2d_arguments(*size, N=3, dtype=torch.float64)
    operator = partial(exported.ss2d, dynamic_size=dynamic_size)
    y = scan_skipping(operator, x.permute(2, 3, 0, 1), *weights, height_axis=0)
    expected = written_out(x, *weights)
    torch.testing.assert_close(y.permute(2, 3, 0, 1), expected, rtol=1e-9, atol=1e-10)


@needs_library
@needs_opcheck
def test_opcheck_with_one_path():
    arguments = [t.requires_grad_() for t in ss2d_arguments(4, 5, K=1)]
    torch.library.opcheck(torch.ops.tinyvim_mm.ss2d.default, (*arguments, [1]))
    detached = [t.detach() for t in arguments]
    cotangent = torch.randn(arguments[0].shape)
    torch.library.opcheck(torch.ops.tinyvim_mm.ss2d_backward.default, (cotangent, *detached, [1]))
