import math

import pytest
import torch

from tinyvim_mm.optim import adaptive_clip_grad_


def clipped_by_definition(weight, gradient, clip_factor, eps):
    """Brock et al. 2021, equation 3, one unit at a time and in plain numbers."""
    units = [(weight, gradient)] if weight.dim() < 2 else zip(weight, gradient, strict=True)
    rows = []
    for w, g in units:
        w_norm = max(math.sqrt(sum(v * v for v in w.flatten().tolist())), eps)
        g_norm = math.sqrt(sum(v * v for v in g.flatten().tolist()))
        rows.append(g * (clip_factor * w_norm / g_norm) if g_norm / w_norm > clip_factor else g)
    return rows[0] if weight.dim() < 2 else torch.stack(rows)


@pytest.mark.parametrize('shape', [(), (7,), (4, 6), (5, 3, 2), (6, 4, 3, 3), (6, 1, 7, 1)])
@pytest.mark.parametrize('scale', [1e-4, 1e-2, 1.0])
def test_gradients_are_clipped_as_defined(shape, scale):
    parameter = torch.nn.Parameter(torch.randn(shape))
    gradient = scale * torch.randn(shape)
    parameter.grad = gradient.clone()
    before = parameter.detach().clone()
    adaptive_clip_grad_([parameter], clip_factor=0.02, eps=1e-3)
    expected = clipped_by_definition(before, gradient, 0.02, 1e-3)
    torch.testing.assert_close(parameter.grad, expected)
    assert torch.equal(parameter, before)


def test_the_cases_cover_clipped_and_unclipped_units():
    parameter = torch.nn.Parameter(torch.tensor([[3.0, 4.0], [3.0, 4.0]]))  # both of norm 5
    parameter.grad = torch.tensor([[0.0, 0.2], [0.06, 0.0]])  # the limit is 0.1
    adaptive_clip_grad_([parameter], clip_factor=0.02)
    torch.testing.assert_close(parameter.grad, torch.tensor([[0.0, 0.1], [0.06, 0.0]]))


def test_units_that_start_at_zero_can_move():
    parameter = torch.nn.Parameter(torch.zeros(2, 3))
    parameter.grad = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    adaptive_clip_grad_([parameter], clip_factor=0.5, eps=1e-2)
    expected = torch.tensor([[3e-3, 0.0, 4e-3], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(parameter.grad, expected)


def test_parameters_without_a_gradient_are_left_out():
    parameter = torch.nn.Parameter(torch.ones(2))
    adaptive_clip_grad_([parameter], clip_factor=0.02)
    assert parameter.grad is None


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_norms_of_half_precision_do_not_overflow(dtype):
    parameter = torch.nn.Parameter(torch.full((1, 10_000), 1000.0, dtype=dtype))
    parameter.grad = torch.full((1, 10_000), 3000.0, dtype=dtype)  # norms of 1e5 and 3e5
    adaptive_clip_grad_([parameter], clip_factor=0.02)
    expected = torch.full((1, 10_000), 20.0, dtype=dtype)
    torch.testing.assert_close(parameter.grad, expected, rtol=1e-2, atol=0)
