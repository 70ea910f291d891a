"""The scan as it is exported against the scan as it is written down."""

import pytest
import tiny_export as tiny
import torch

from tinyvim_mm import ops
from tinyvim_mm.export import scan
from tinyvim_mm.models.layers import SS2D


def arguments(height, width, batch=2, d=6, R=2, N=3, K=4, scale=0.5):
    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64) * scale

    A_logs = torch.arange(1.0, N + 1, dtype=torch.float64).log().repeat(K * d, 1)
    return (
        torch.randn(batch, d, height, width, dtype=torch.float64),
        random(K, R + 2 * N, d),
        random(K, d, R),
        random(K, d),
        A_logs,
        random(K * d),
    )


def exported(values, paths, dynamic_size):
    x, *weights = values
    y = scan.ss2d(x.permute(2, 3, 0, 1), *weights, paths, dynamic_size)
    return y.permute(2, 3, 0, 1)


@pytest.mark.parametrize('dynamic_size', [False, True], ids=['fixed', 'dynamic'])
@pytest.mark.parametrize('size', [(1, 1), (1, 2), (2, 3), (7, 7), (5, 9), (12, 17)])
def test_it_equals_the_reference(size, dynamic_size):
    values = arguments(*size)
    expected = ops.ss2d(*values, backend='reference')
    actual = exported(values, ops.CROSS_SCAN, dynamic_size)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)


def test_it_takes_other_paths():
    values = arguments(4, 5, K=2)
    expected = ops.ss2d(*values, ops.BIDIRECTIONAL, backend='reference')
    actual = exported(values, ops.BIDIRECTIONAL, False)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)


def test_large_steps_do_not_overflow():
    values = [value.float() for value in arguments(9, 9, scale=30)]
    expected = ops.ss2d(*values, backend='reference')
    actual = exported(values, ops.CROSS_SCAN, False)
    assert actual.isfinite().all()
    assert (actual - expected).norm() < 1e-5 * expected.norm()


def test_the_layers_are_as_before_after_the_context():
    network = tiny.backbone()
    images = torch.randn(1, 3, 64, 96)
    expected = network(images)
    with scan.exportable_scan(network):
        inside = network(images)
    layers = [module for module in network.modules() if isinstance(module, SS2D)]
    assert not any('forward' in vars(layer) for layer in layers)
    for actual, wanted in zip(inside, expected, strict=True):
        assert 0 < (actual - wanted).norm() < 1e-5 * wanted.norm()


def test_leaving_the_scan_out_changes_the_result():
    network = tiny.backbone()
    images = torch.randn(1, 3, 64, 64)
    expected = network(images)[-1]
    with scan.exportable_scan(network, leave_out=True):
        assert (network(images)[-1] - expected).norm() > 1e-3 * expected.norm()
