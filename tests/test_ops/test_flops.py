import pytest
import torch
from scan_cases import needs_library, ss2d_arguments

pytest.importorskip('mmengine')

from tinyvim_mm.models import TinyViM
from tinyvim_mm.ops import flops, ss2d


def test_formula_counts_what_the_recurrence_does():
    # 2 images, 3 paths, 5 positions, 4 channels, 7 states, rank 6.
    x, x_proj, dt_projs = (2, 4, 1, 5), (3, 6 + 14, 4), (3, 4, 6)
    projections = 2 * 5 * 3 * (20 * 4 + 4 * 6)
    scan = 2 * 5 * 3 * 4 * (4 * 7 + 2)
    assert flops.ss2d_macs(x, x_proj, dt_projs, 7) == projections + scan


@needs_library
@pytest.mark.parametrize(
    ('module', 'name'), [('mmengine.analysis', 'FlopAnalyzer'), ('fvcore.nn', 'FlopCountAnalysis')]
)
def test_mmengine_and_fvcore_count_the_scan(module, name):
    counter = getattr(pytest.importorskip(module), name)
    model, x = TinyViM('s', ssm_backend='cpu').eval(), torch.randn(1, 3, 64, 64)
    model.requires_grad_(False)  # before torch 2.4 tracing sees no operator that has autograd
    with_scan = counter(model, x).set_op_handle(**flops.OP_HANDLES)
    expected = 0
    for d, R in ((12, 3), (32, 4), (84, 11), (84, 11), (168, 14)):
        expected += flops.ss2d_macs((1, d, 2, 2), (4, R + 16, d), (4, d, R), 8)
    assert with_scan.total() - counter(model, x).total() == expected


@needs_library
def test_torch_counts_the_scan():
    counter = pytest.importorskip('torch.utils.flop_counter')
    if not hasattr(counter, 'register_flop_formula'):
        pytest.skip('before torch 2.2 its counter takes no other operators')
    flops.register_with_torch()
    x, *weights = ss2d_arguments(4, 5)
    with counter.FlopCounterMode(display=False) as mode:
        ss2d(x, *weights, backend='cpu')
    shapes = (x.shape, weights[0].shape, weights[1].shape)
    assert mode.get_total_flops() == 2 * flops.ss2d_macs(*shapes, weights[3].shape[1])
