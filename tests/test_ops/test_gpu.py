"""What of the scan only a CUDA device shows; `make test-gpu` runs these and the benchmark.

Results are compared in ``test_conformance.py``, on a GPU too. Both need torch, pytest
and hypothesis only, no OpenMMLab package.
"""

import pytest
import torch
from scan_cases import ss2d_arguments

from tinyvim_mm.ops import CROSS_SCAN, available_backends, position_table, ss2d

pytestmark = pytest.mark.gpu

BACKENDS = ('cuda', 'triton')


def on_gpu(arguments):
    values = arguments.values() if isinstance(arguments, dict) else arguments
    return [value.cuda() for value in values]


@pytest.mark.parametrize('backend', BACKENDS)
def test_the_backend_is_there(backend):
    assert available_backends('cuda')[backend] is None


@pytest.mark.parametrize('order', ['paths', 'table'])
@pytest.mark.parametrize('backend', BACKENDS)
def test_cuda_graph(backend, order):
    paths = CROSS_SCAN if order == 'paths' else position_table(CROSS_SCAN, 7, 7, 'cuda')
    x, *weights = on_gpu(ss2d_arguments(7, 7, d=48, R=6))
    static = x.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            ss2d(static, *weights, paths, backend=backend)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = ss2d(static, *weights, paths, backend=backend)
    static.copy_(2 * x)
    graph.replay()
    torch.testing.assert_close(recorded, ss2d(2 * x, *weights, paths, backend=backend))


def test_mixed_devices_are_refused():
    x, *weights = ss2d_arguments(3, 3)
    with pytest.raises(ValueError, match='x_proj_weight is on cpu, but x is on cuda:0'):
        ss2d(x.cuda(), *weights)


def test_the_cuda_kernels_are_the_default():
    x, *weights = on_gpu(ss2d_arguments(7, 7))
    assert torch.equal(ss2d(x, *weights), ss2d(x, *weights, backend='cuda'))
