import pytest
import torch
from scan_cases import Subject, needs_library, over, scan_arguments, ss2d_arguments
from torch import nn

from tinyvim_mm.ops import flops, selective_scan, ss2d

COUNTED = [Subject('cpu'), Subject('triton')]
COUNTERS = pytest.mark.parametrize(
    ('module', 'name'), [('mmengine.analysis', 'FlopAnalyzer'), ('fvcore.nn', 'FlopCountAnalysis')]
)


def test_formula_counts_what_the_recurrence_does():
    # 2 images, 3 paths, 5 positions, 4 channels, 7 states, rank 6.
    x, x_proj, dt_projs = (2, 4, 1, 5), (3, 6 + 14, 4), (3, 4, 6)
    projections = 2 * 5 * 3 * (20 * 4 + 4 * 6)
    scan = 2 * 5 * 3 * 4 * (4 * 7 + 2)
    assert flops.ss2d_macs(x, x_proj, dt_projs, 7) == projections + scan


@needs_library
@COUNTERS
def test_mmengine_and_fvcore_count_the_scan_of_a_network(module, name):
    counter = getattr(pytest.importorskip(module), name)
    TinyViM = pytest.importorskip('tinyvim_mm.models').TinyViM
    model, x = TinyViM('s', ssm_backend='cpu').eval(), torch.randn(1, 3, 64, 64)
    model.requires_grad_(False)  # before torch 2.4 tracing sees no operator that has autograd
    with_scan = counter(model, x).set_op_handle(**flops.OP_HANDLES)
    expected = 0
    for d, R in ((12, 3), (32, 4), (84, 11), (84, 11), (168, 14)):
        # The projection of the map is a product of matrices, which they know.
        expected += flops.ss2d_macs((1, d, 2, 2), (0, R + 16, d), (4, d, R), 8)
    assert with_scan.total() - counter(model, x).total() == expected


class Scan(nn.Module):
    def __init__(self, function, backend):
        super().__init__()
        self.function, self.backend = function, backend

    def forward(self, *arguments):
        return self.function(*arguments, backend=self.backend)


def arguments_and_costs():
    x, *weights = ss2d_arguments(1, 2, N=2, batch=1)
    cost = flops.ss2d_macs(x.shape, weights[0].shape, weights[1].shape, 2)
    u, delta, A, B, C = list(scan_arguments(3, N=2, batch=1).values())[:5]
    return (ss2d, (x, *weights), cost), (selective_scan, (u, delta, A, B, C), 4 * 3 * 10)


@COUNTERS
@over(COUNTED)
def test_mmengine_and_fvcore_count_the_operators(module, name, subject):
    counter = getattr(pytest.importorskip(module), name)
    for function, arguments, cost in arguments_and_costs():
        scan = Scan(function, subject.backend)
        with_scan = counter(scan, arguments).set_op_handle(**flops.OP_HANDLES)
        assert with_scan.total() == cost


@pytest.fixture
def torch_counter():
    counter = pytest.importorskip('torch.utils.flop_counter')
    if not hasattr(counter, 'register_flop_formula'):
        pytest.skip('before torch 2.2 its counter takes no other operators')
    return counter


@over(COUNTED)
def test_torch_counts_the_operators(subject, torch_counter):
    flops.register_with_torch()
    flops.register_with_torch()
    for function, arguments, cost in arguments_and_costs():
        with torch_counter.FlopCounterMode(display=False) as mode:
            function(*arguments, backend=subject.backend)
        assert mode.get_total_flops() == 2 * cost


def test_without_the_compiled_library_triton_is_counted_still(monkeypatch, torch_counter):
    monkeypatch.setattr(torch_counter, 'flop_registry', {})
    monkeypatch.setattr(flops, 'NAMESPACES', ('tinyvim_mm_not_compiled', flops.NAMESPACES[1]))
    flops.register_with_torch()
    operators = torch.ops.tinyvim_mm_triton
    assert operators.scan in torch_counter.flop_registry
