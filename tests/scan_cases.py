"""Arguments for the scan, and its comparison with the sequential form in float64."""

import golden
import pytest
import torch

from tinyvim_mm.ops import available_backends

#: What runs here at full speed; Triton's interpreter has tests of its own.
RUNNABLE = [
    name for name in ('cpu', 'parallel', 'reference') if available_backends('cpu')[name] is None
]

needs_library = pytest.mark.skipif(
    available_backends('cpu')['cpu'] is not None,
    reason='the operators were not compiled; `python -m tinyvim_mm.ops` says why',
)


def scan_arguments(length, N=8, dim=4, groups=2, batch=2, dtype=torch.float32):
    return {
        'u': torch.randn(batch, dim, length, dtype=dtype),
        'delta': 0.5 * torch.randn(batch, dim, length, dtype=dtype),
        'A': -torch.rand(dim, N, dtype=dtype) * N - 0.1,
        'B': torch.randn(batch, groups, N, length, dtype=dtype),
        'C': torch.randn(batch, groups, N, length, dtype=dtype),
        'D': torch.randn(dim, dtype=dtype),
        'z': torch.randn(batch, dim, length, dtype=dtype),
        'delta_bias': torch.randn(dim, dtype=dtype),
    }


def ss2d_arguments(height, width, d=5, R=3, N=8, K=4, batch=2, dtype=torch.float32):
    return (
        torch.randn(batch, d, height, width, dtype=dtype),
        torch.randn(K, R + 2 * N, d, dtype=dtype) / d**0.5,
        torch.randn(K, d, R, dtype=dtype) / R**0.5,
        torch.randn(K, d, dtype=dtype) - 2,
        torch.rand(K * d, N, dtype=dtype),
        torch.randn(K * d, dtype=dtype),
    )


def result_and_gradients(function, arguments, backend, cotangent, **options):
    """The result and the gradients of all arguments, in the types that they have."""
    leaves = [a.detach().requires_grad_() for a in arguments]
    y = function(*leaves, backend=backend, **options)
    y.backward(cotangent.to(y))
    return y.detach(), [leaf.grad for leaf in leaves]


def double_reference(function, arguments, cotangent, **options):
    """Result and gradients of the sequential form in float64."""
    truth = [a.detach().double() for a in arguments]
    return result_and_gradients(function, truth, 'reference', cotangent, **options)


def compare(function, arguments, backend, limit, **options):
    arguments = list(arguments)
    cotangent = torch.randn(arguments[0].shape).to(arguments[0])
    y, gradients = result_and_gradients(function, arguments, backend, cotangent, **options)
    expected, truth = double_reference(function, arguments, cotangent, **options)
    assert y.dtype == arguments[0].dtype
    golden.assert_close('y', y, expected, limit)
    for i, (gradient, other) in enumerate(zip(gradients, truth, strict=True)):
        golden.assert_close(f'gradient {i}', gradient, other, limit)
