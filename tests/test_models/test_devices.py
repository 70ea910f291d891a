"""The backbone of every family on CPU and GPU: the same in fp32, near it under autocast.

`make test-gpu` runs them on a GPU; what needs no second device runs here, too.
"""

import copy

import golden
import pytest
import torch

pytest.importorskip('mmengine')

from tinyvim_mm.models.catalogue import BACKBONES

families = pytest.mark.parametrize('family', BACKBONES)
#: CPUs convolve slowly in float16.
halves = pytest.mark.parametrize(
    ('device', 'dtype'),
    [
        ('cpu', torch.bfloat16),
        pytest.param('cuda', torch.bfloat16, marks=pytest.mark.gpu),
        pytest.param('cuda', torch.float16, marks=pytest.mark.gpu),
    ],
)


def build(family, device='cpu'):
    """A small network none of whose branches is switched off by its initialization."""
    torch.manual_seed(0)
    cls = BACKBONES[family]
    stages = len(next(iter(cls.arch_settings.values())).depths)
    arch = {'embed_dims': [40 * 2**i for i in range(stages)], 'depths': [1] * stages}
    model = cls(arch, drop_path_rate=0.0)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand(tensor.shape))
    return model.to(device)


def images(size=(64, 64)):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def gradients(model, x, *autocast):
    """Maps, and the gradients of all parameters for fixed cotangents."""
    with torch.autocast(*(autocast or (x.device.type,)), enabled=bool(autocast)):
        outputs = model(x)
    generator = torch.Generator().manual_seed(2)
    loss = sum(
        (out.float() * torch.randn(out.shape, generator=generator).to(out.device)).mean()
        for out in outputs
    )
    model.zero_grad()
    loss.backward()
    return outputs, {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.gpu
@families
@pytest.mark.parametrize('size', [(96, 64), (100, 75)])
def test_fp32_is_the_same_on_both_devices(family, size):
    model = build(family).eval()
    expected, wanted = gradients(copy.deepcopy(model), images(size))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        outputs, found = gradients(model.cuda(), images(size).cuda())
    for i, (out, truth) in enumerate(zip(outputs, expected, strict=True)):
        golden.assert_close(f'map {i}', out.cpu(), truth, 1e-4)
    # All as one vector: a single one may be zero but for rounding, before a batch norm. An
    # activation within rounding of zero may be cut on one device alone.
    flat = [torch.cat([g.cpu().flatten() for g in grads.values()]) for grads in (found, wanted)]
    golden.assert_close('gradients', *flat, 2e-2)


@families
@halves
def test_autocast_stays_near_fp32(family, device, dtype):
    model, x = build(family, device).eval(), images().to(device)
    with torch.no_grad():
        expected = model(x)
        with torch.autocast(device, dtype):
            outputs = model(x)
    limit = 0.1 if dtype == torch.bfloat16 else 0.02
    for i, (out, truth) in enumerate(zip(outputs, expected, strict=True)):
        golden.assert_close(f'map {i}', out.float().cpu(), truth.cpu(), limit)


@families
@halves
def test_training_under_autocast_gives_finite_fp32_gradients(family, device, dtype):
    model, x = build(family, device).train(), images().to(device)
    _, found = gradients(model, x, device, dtype)
    for key, gradient in found.items():
        assert gradient.dtype == torch.float32, key
        assert gradient.isfinite().all(), key
