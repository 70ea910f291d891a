"""Long training in half precision, and values at the ends of the range.

``make fuzz`` takes 1,000 training steps, the ordinary tests 30.
"""

import golden
import pytest
import torch
from hypothesis import settings
from scan_cases import RUNNABLE, scan_arguments
from torch import nn

from tinyvim_mm.models.layers import SS2D
from tinyvim_mm.ops import selective_scan

STEPS = 1000 if settings.default.max_examples > 1000 else 30


@pytest.mark.parametrize('backend', [name for name in RUNNABLE if name != 'reference'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=['fp16', 'bf16'])
def test_training_with_large_activations_stays_finite(dtype, backend):
    layer = SS2D(8, backend=backend)
    model = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), layer, nn.Conv2d(8, 3, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    largest = {'input': 0.0, 'gradient': 0.0}

    def look(module, arguments, output):
        largest['input'] = max(largest['input'], arguments[0].detach().abs().max().item())
        assert output.dtype == dtype

    layer.register_forward_hook(look)
    for step in range(STEPS):
        # Up to the largest that fp16 can hold, after the first convolution.
        scale = 4e4 if step % 2 else 1e-4
        images = scale * torch.rand(2, 3, 5, 6)
        with torch.autocast('cpu', dtype):
            y = model(images)
        loss = (y.float() - torch.rand(2, 3, 5, 6)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert y.isfinite().all(), step
        for name, parameter in model.named_parameters():
            assert parameter.grad.isfinite().all(), (step, name)
            largest['gradient'] = max(largest['gradient'], parameter.grad.abs().max().item())
        optimizer.step()
    print(
        f'{dtype}, {backend}: {STEPS:,} steps, inputs of the scan up to {largest["input"]:.3g}, '
        f'gradients up to {largest["gradient"]:.3g}, loss {loss.item():.3g}'
    )
    assert largest['input'] > 1e4


@pytest.mark.parametrize('backend', RUNNABLE)
@pytest.mark.parametrize('A', [1e-6, 1e-3, 1.0, 1e2, 1e4])
@pytest.mark.parametrize('dt', [1e-6, 1e-3, 1.0, 1e2, 1e4])
def test_extreme_step_sizes_and_decays(dt, A, backend):
    a = scan_arguments(12, N=4, dim=3, groups=1)
    a['A'] = torch.full_like(a['A'], -A)
    a['delta'] = torch.full_like(a['delta'], dt)
    del a['delta_bias'], a['z']
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in a.items()}
    y = selective_scan(**leaves, backend=backend)
    truth = {name: tensor.double().requires_grad_() for name, tensor in a.items()}
    expected = selective_scan(**truth, backend='reference')
    golden.assert_close('y', y, expected, 1e-5)
    y.sum().backward()
    expected.sum().backward()
    for name in ('u', 'delta', 'B', 'C'):
        assert leaves[name].grad.isfinite().all()
        golden.assert_close(f'gradient of {name}', leaves[name].grad, truth[name].grad, 1e-4)
