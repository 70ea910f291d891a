"""The scan on a CUDA device; `make test-gpu` runs these and the benchmark.

They need torch and pytest only, no OpenMMLab package.
"""

from functools import partial

import golden
import pytest
import torch
from scan_cases import compare, scan_arguments, ss2d_arguments
from torch_abilities import needs_opcheck

from tinyvim_mm.ops import (
    BIDIRECTIONAL,
    available_backends,
    scan_skipping,
    selective_scan,
    ss2d,
)

pytestmark = pytest.mark.gpu

BACKENDS = ('cuda', 'triton')
LENGTHS = [1, 2, 31, 32, 33, 49, 256, 1050, 2049]
WEIGHTS = ('x_proj_weight', 'dt_projs_weight', 'dt_projs_bias', 'A_logs', 'Ds')


def on_gpu(arguments):
    values = arguments.values() if isinstance(arguments, dict) else arguments
    return [value.cuda() for value in values]


@pytest.mark.parametrize('backend', BACKENDS)
def test_the_backend_is_there(backend):
    assert available_backends('cuda')[backend] is None


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('length', LENGTHS)
def test_selective_scan_over_lengths(length, backend):
    compare(selective_scan, on_gpu(scan_arguments(length)), backend, 1e-5, delta_softplus=True)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('N', [1, 4, 8, 16, 64])
@pytest.mark.parametrize('size', [(7, 7), (16, 16), (25, 42)])
def test_ss2d_over_sizes_and_states(size, N, backend):
    compare(ss2d, on_gpu(ss2d_arguments(*size, N=N)), backend, 1e-5)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize(('d', 'R'), [(1, 1), (33, 4), (96, 12), (288, 24), (384, 32), (70, 40)])
def test_ss2d_over_channels_and_ranks(d, R, backend):
    compare(ss2d, on_gpu(ss2d_arguments(7, 7, d=d, R=R)), backend, 1e-5)


@pytest.mark.parametrize('backend', BACKENDS)
def test_other_paths(backend):
    compare(ss2d, on_gpu(ss2d_arguments(9, 6, K=2)), backend, 1e-5, paths=BIDIRECTIONAL)


def skipping(*arguments, backend):
    return scan_skipping(partial(ss2d, backend=backend), *arguments)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('size', [(2, 2), (7, 5), (28, 28), (25, 42)])
def test_skip_sampled_grids(size, backend):
    compare(skipping, on_gpu(ss2d_arguments(*size, d=12, N=16)), backend, 1e-5)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_does_not_lower_the_precision_of_skip_sampled_grids(dtype, backend):
    arguments = on_gpu(ss2d_arguments(7, 10, N=16))
    expected = skipping(*arguments, backend=backend)
    with torch.autocast('cuda', dtype):
        golden.assert_close('y', skipping(*arguments, backend=backend), expected, 1e-6)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize(('dtype', 'limit'), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_half_precision(dtype, limit, backend):
    arguments = [a.to(dtype) for a in on_gpu(ss2d_arguments(7, 7))]
    compare(ss2d, arguments, backend, limit)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('case', ['square', 'wide', 'long'])
def test_golden_operator(case, backend):
    data = {key: value.cuda() for key, value in golden.load('ss2d_op_golden').items()}
    x = data[f'{case}/x'].requires_grad_()
    weights = [data[f'{case}/{name}'].requires_grad_() for name in WEIGHTS]
    y = ss2d(x, *weights, backend=backend).permute(0, 2, 3, 1)
    y.backward(golden.golden_input(f'{case}-cot', y.shape).cuda())
    golden.assert_close('y', y, data[f'{case}/y'], golden.FEATURE_LIMIT)
    for name, tensor in zip(('x', *WEIGHTS), (x, *weights), strict=True):
        golden.assert_close(name, tensor.grad, data[f'{case}/grad_{name}'], golden.GRADIENT_LIMIT)


@pytest.mark.parametrize('backend', BACKENDS)
def test_any_strides(backend):
    x, *weights = on_gpu(ss2d_arguments(6, 10, d=4))
    expected = ss2d(x, *weights, backend=backend)
    strided = torch.zeros(2, 4, 12, 20, device='cuda')[:, :, ::2, ::2].copy_(x)
    for other in (x.to(memory_format=torch.channels_last), strided):
        golden.assert_close('y', ss2d(other, *weights, backend=backend), expected, 1e-6)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('size', [(7, 7), (25, 42)])
def test_ten_runs_are_bit_identical(size, backend):
    arguments = [a.requires_grad_() for a in on_gpu(ss2d_arguments(*size, d=96, R=12))]
    runs = []
    for _ in range(10):
        y = ss2d(*arguments, backend=backend)
        runs.append([y, *torch.autograd.grad(y.square().sum(), arguments)])
    for run in runs[1:]:
        assert all(torch.equal(first, later) for first, later in zip(runs[0], run, strict=True))


@pytest.mark.parametrize('backend', BACKENDS)
def test_autocast_does_not_lower_the_precision(backend):
    arguments = on_gpu(ss2d_arguments(7, 7))
    expected = ss2d(*arguments, backend=backend)
    with torch.autocast('cuda', torch.float16):
        golden.assert_close('y', ss2d(*arguments, backend=backend), expected, 1e-6)


@pytest.mark.parametrize('backend', BACKENDS)
def test_cuda_graph(backend):
    x, *weights = on_gpu(ss2d_arguments(7, 7, d=48, R=6))
    static = x.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            ss2d(static, *weights, backend=backend)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = ss2d(static, *weights, backend=backend)
    static.copy_(2 * x)
    graph.replay()
    torch.testing.assert_close(recorded, ss2d(2 * x, *weights, backend=backend))


@needs_opcheck
def test_opcheck_of_the_cuda_operators():
    arguments = [a.requires_grad_() for a in on_gpu(ss2d_arguments(4, 5))]
    torch.library.opcheck(torch.ops.tinyvim_mm.ss2d.default, (*arguments, [0, 1, 2, 3]))
    a = scan_arguments(9)
    names = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')
    tensors = [a[name].cuda().requires_grad_() for name in names]
    torch.library.opcheck(torch.ops.tinyvim_mm.selective_scan.default, (*tensors, True))


@pytest.mark.parametrize('backend', BACKENDS)
def test_compiles_without_graph_breaks(backend):
    x, *weights = on_gpu(ss2d_arguments(7, 7))
    compiled = torch.compile(lambda t: ss2d(t, *weights, backend=backend) + 1, fullgraph=True)
    torch.testing.assert_close(compiled(x), ss2d(x, *weights, backend=backend) + 1)


def test_mixed_devices_are_refused():
    x, *weights = ss2d_arguments(3, 3)
    with pytest.raises(ValueError, match='x_proj_weight is on cpu, but x is on cuda:0'):
        ss2d(x.cuda(), *weights)


def test_the_cuda_kernels_are_the_default():
    x, *weights = on_gpu(ss2d_arguments(7, 7))
    assert torch.equal(ss2d(x, *weights), ss2d(x, *weights, backend='cuda'))
