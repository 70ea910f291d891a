"""How the exporter has the scan computed; what it computes is in ``tests/test_ops``."""

import pytest
import tiny_export as tiny
import torch

from tinyvim_mm.export import scan
from tinyvim_mm.models.layers import SS2D


@pytest.mark.parametrize('dynamic_size', [False, True], ids=['fixed', 'dynamic'])
def test_the_layers_are_as_before_after_the_context(dynamic_size):
    network = tiny.backbone()
    layers = [module for module in network.modules() if isinstance(module, SS2D)]
    images = torch.randn(1, 3, 64, 96)
    expected = network(images)
    layers[0].backend = 'reference'
    with scan.exportable_scan(network, dynamic_size):
        inside = network(images)
        used = {layer.backend for layer in layers}
    assert used == {'exportable_any_size' if dynamic_size else 'exportable'}
    assert [layer.backend for layer in layers] == ['reference'] + [None] * (len(layers) - 1)
    for actual, wanted in zip(inside, expected, strict=True):
        assert 0 < (actual - wanted).norm() < 1e-5 * wanted.norm()


def test_leaving_the_scan_out_changes_the_result():
    network = tiny.backbone()
    images = torch.randn(1, 3, 64, 64)
    expected = network(images)[-1]
    with scan.exportable_scan(network, leave_out=True):
        assert (network(images)[-1] - expected).norm() > 1e-3 * expected.norm()
    assert torch.equal(network(images)[-1], expected)
