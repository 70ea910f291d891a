"""The linear recurrence of the backend in plain PyTorch, in both forms."""

import golden
import pytest
import torch

from tinyvim_mm.ops.backends.parallel import _doubling, _LinearRecurrence, _stepwise


def test_the_recurrence_is_differentiable_twice():
    a, b = torch.rand(2, 7, 3, dtype=torch.float64).requires_grad_().unbind()
    inputs = [t.detach().requires_grad_() for t in (a, b)]
    for reverse in (False, True):
        assert torch.autograd.gradgradcheck(
            lambda a, b, reverse=reverse: _LinearRecurrence.apply(a, b, reverse), inputs
        )


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('length', [1, 2, 3, 31, 32, 33])
def test_doubling_equals_stepping(length, reverse):
    a, b = torch.rand(length, 5, dtype=torch.float64), torch.randn(length, 5, dtype=torch.float64)
    expected = _stepwise(a, b, reverse)
    golden.assert_close('h', _doubling(a, b, reverse), expected, 1e-12)
