"""Operators that mmcv compiles for GPUs only, against independent definitions, on this device."""

import importlib
import itertools

import numpy as np
import pytest
import torch
from test_mmcv_ext.forms import need_torchvision
from test_mmcv_ext.operator_cases import rois_of
from torch.nn import functional as F

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def device(request):
    need_torchvision()
    return request.param


def operator(name):
    return importlib.import_module('tinyvim_mm.mmcv_ext').operators()[name]


def normal(device, *shape):
    return torch.randn(shape, device=device, requires_grad=True)


def focal(logits, positive, gamma, alpha):
    """From the definition, -alpha_t (1 - p_t)^gamma log(p_t), by autograd in float64."""
    p = logits.double().sigmoid()
    p_t = torch.where(positive, p, 1 - p)
    alpha_t = torch.where(positive, alpha, 1.0 - alpha)
    return -alpha_t * (1 - p_t) ** gamma * p_t.log()


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_sigmoid_focal_loss(weighted, dtype, device):
    x = (3 * torch.randn(9, 4, device=device)).to(dtype).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 4, 4, 1, 0, 3], device=device)  # 4 is the background
    weight = torch.rand(4 if weighted else 0, device=device).to(dtype)
    factor = torch.cat([weight, weight.new_ones(1)])[target][:, None] if weighted else 1
    expected = focal(x, target[:, None] == torch.arange(4, device=device), 1.5, 0.3) * factor
    (gradient,) = torch.autograd.grad(expected.sum(), x)
    output, grad_input = torch.zeros_like(x), torch.zeros_like(x)
    operator('sigmoid_focal_loss_forward')(x.detach(), target, weight, output, 1.5, 0.3)
    operator('sigmoid_focal_loss_backward')(x.detach(), target, weight, grad_input, 1.5, 0.3)
    limits = dict(rtol=1e-5, atol=1e-6) if dtype == torch.float32 else dict(rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(output, expected.to(dtype), **limits)
    torch.testing.assert_close(grad_input, gradient, **limits)


def test_sigmoid_focal_loss_of_certain_logits_is_finite(device):
    x = torch.tensor([[200.0, -200.0]], device=device)
    target = torch.tensor([1], device=device)
    for name in ('sigmoid_focal_loss_forward', 'sigmoid_focal_loss_backward'):
        output = torch.zeros_like(x)
        operator(name)(x, target, x.new_empty(0), output, 2.0, 0.25)
        assert output.isfinite().all()


def test_softmax_focal_loss(device):
    x = normal(device, 6, 5)
    target = torch.tensor([0, 4, 2, -1, 3, 3], device=device)  # one is ignored
    p = x.softmax(1)
    p_t = p.gather(1, target.clamp(min=0)[:, None])[:, 0]
    expected = torch.where(target >= 0, -0.25 * (1 - p_t) ** 2 * p_t.log(), 0.0)
    (gradient,) = torch.autograd.grad(expected.sum(), x, retain_graph=True)
    given = (p.detach(), target, x.new_empty(0))
    output, buffer, grad_input = x.new_zeros(6), x.new_zeros(6), torch.zeros_like(x)
    operator('softmax_focal_loss_forward')(*given, output, 2.0, 0.25)
    operator('softmax_focal_loss_backward')(*given, buffer, grad_input, 2.0, 0.25)
    torch.testing.assert_close(output, expected.detach())
    torch.testing.assert_close(grad_input, gradient)


def test_roi_pool(device):
    features, scale, size = normal(device, 2, 3, 12, 10), 0.2, (3, 2)
    rois = rois_of(np.random.default_rng(0), 6).to(device)
    rois[5, 3:] = rois[5, 1:3] - 9  # no extent
    expected = torch.zeros(6, 3, *size, device=device)
    for n, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        extents = [((y2 + 1) * scale - y1 * scale), ((x2 + 1) * scale - x1 * scale)]
        if min(extents) <= 0:
            continue
        for i, j in itertools.product(range(size[0]), range(size[1])):
            bins = []
            for start, extent, k, count, limit in (
                (y1 * scale, extents[0], i, size[0], 12),
                (x1 * scale, extents[1], j, size[1], 10),
            ):
                first = int(np.floor(start + k * extent / count))
                last = int(np.ceil(start + (k + 1) * extent / count))
                bins.append(slice(max(first, 0), min(last, limit)))
            window = features[int(image)][:, bins[0], bins[1]]
            if window.numel():
                expected[n, :, i, j] = window.flatten(1).amax(1)
    cotangent = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad(expected, features, cotangent)
    output = torch.zeros_like(expected)
    argmax = torch.zeros_like(expected, dtype=torch.int)
    grad_input = torch.zeros_like(features)
    operator('roi_pool_forward')(features.detach(), rois, output, argmax, *size, scale)
    operator('roi_pool_backward')(cotangent, rois, argmax, grad_input, *size, scale)
    torch.testing.assert_close(output, expected.detach())
    torch.testing.assert_close(grad_input, gradient)


@pytest.mark.parametrize('groups', [1, 2])
def test_carafe(groups, device):
    size, factor = 3, 2
    x, masks = normal(device, 2, 4, 5, 6), normal(device, 2, groups * size**2, 10, 12)
    windows = F.unfold(x, size, padding=1).view(2, groups, 4 // groups, size**2, 5, 6)
    windows = windows.repeat_interleave(factor, 4).repeat_interleave(factor, 5)
    expected = windows * masks.view(2, groups, 1, size**2, 10, 12)
    expected = expected.sum(3).view(2, 4, 10, 12)
    cotangent = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, [x, masks], cotangent)
    output, kept, sizes = torch.zeros_like(expected), torch.zeros_like(x), (size, groups, factor)
    buffers = [torch.zeros(0, device=device)] * 4
    results = [torch.zeros_like(x), torch.zeros_like(masks)]
    given = (x.detach(), masks.detach())
    operator('carafe_forward')(*given, kept, *buffers[:2], output, *sizes)
    operator('carafe_backward')(cotangent, kept, given[1], *buffers, *results, *sizes)
    torch.testing.assert_close(output, expected.detach())
    torch.testing.assert_close(results, list(gradients))


def test_masked_convolution(device):
    x, weight = torch.randn(1, 3, 6, 7, device=device), torch.randn(4, 3, 3, 3, device=device)
    chosen = torch.rand(6, 7, device=device) > 0.5
    rows, columns = chosen.nonzero(as_tuple=True)
    windows = torch.zeros(27, len(rows), device=device)
    operator('masked_im2col_forward')(x, rows, columns, windows, 3, 3, 1, 1)
    output = torch.zeros(1, 4, 6, 7, device=device)
    products = weight.flatten(1) @ windows
    operator('masked_col2im_forward')(products, rows, columns, output, 6, 7, 4)
    torch.testing.assert_close(output, F.conv2d(x, weight, padding=1) * chosen)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_deformable_attention(dtype, device):
    shapes = torch.tensor([[4, 5], [2, 3]], device=device)
    value = torch.randn(2, 26, 2, 3, device=device, dtype=torch.float64)
    locations = 1.4 * torch.rand(2, 7, 2, 2, 4, 2, device=device, dtype=torch.float64) - 0.2
    weights = torch.rand(2, 7, 2, 2, 4, device=device, dtype=torch.float64)
    leaves = [t.to(dtype).double().requires_grad_() for t in (value, locations, weights)]
    expected = torch.zeros(2, 7, 2, 3, device=device, dtype=torch.float64)
    for level, (start, (h, w)) in enumerate(zip([0, 20], shapes.tolist(), strict=True)):
        maps = leaves[0][:, start : start + h * w].permute(0, 2, 3, 1).reshape(4, 3, h, w)
        grid = (2 * leaves[1][:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        seen = F.grid_sample(maps, grid, align_corners=False).view(2, 2, 3, 7, 4)
        expected = expected + torch.einsum('bhcqp,bqhp->bqhc', seen, leaves[2][:, :, :, level])
    cotangent = torch.randn_like(expected).to(dtype).double()
    gradients = torch.autograd.grad(expected, leaves, cotangent)
    given = [leaf.detach().to(dtype) for leaf in leaves]
    shape = (shapes, torch.tensor([0, 20], device=device))
    output = operator('ms_deform_attn_forward')(given[0], *shape, *given[1:], im2col_step=64)
    results = [torch.zeros_like(t) for t in given]
    flat = cotangent.to(dtype).flatten(2)
    operator('ms_deform_attn_backward')(
        given[0], *shape, *given[1:], flat, *results, im2col_step=64
    )
    limits = dict(rtol=1e-4, atol=1e-4) if dtype == torch.float32 else dict(rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(output, expected.detach().flatten(2).to(dtype), **limits)
    torch.testing.assert_close(results, [g.to(dtype) for g in gradients], **limits)
