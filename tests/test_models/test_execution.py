"""How the networks run: compiled, under autocast, channels-last, from CUDA graphs."""

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn
from torch_abilities import needs_half, needs_tracing

import tinyvim_mm
from tinyvim_mm.export.check import relative_error
from tinyvim_mm.models import CUDAGraphs, TinyViM, reparameterize
from tinyvim_mm.models.layers import SS2D

TINY = {'embed_dims': [8, 12, 16, 20], 'depths': [1, 1, 1, 1]}
FORMS = ['training form', 'deployed']
halves = pytest.mark.parametrize(
    'dtype', [torch.bfloat16, pytest.param(torch.float16, marks=needs_half)]
)


def network(form, **options):
    torch.manual_seed(0)
    model = TinyViM(TINY, **options).eval()
    for name, p in model.named_parameters():
        if name.endswith('conv.weight'):  # fresh weights make maps near zero
            nn.init.kaiming_normal_(p)
    return reparameterize(model) if form == 'deployed' else model


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    # Models of one class share a cache of compiled code, which has a limit.
    torch._dynamo.reset()


# -- torch.compile -----------------------------------------------------------------------


def with_neck(config):
    """Backbone and neck of a recipe, with its real neck and a small backbone."""
    from mmengine.registry import MODELS

    pytest.importorskip('mmdet.models' if 'mask_rcnn' in config else 'mmseg.models')
    cfg = tinyvim_mm.get_config(config)
    backbone = {**cfg.model.backbone, 'arch': TINY, 'init_cfg': None}
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        neck = {**cfg.model.neck, 'in_channels': TINY['embed_dims']}
        return nn.Sequential(MODELS.build(backbone), MODELS.build(neck))


@needs_tracing
@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    'config',
    [
        'mask_rcnn_tinyvim_b_1x_coco',
        pytest.param('fpn_tinyvim_s_40k_ade20k', marks=pytest.mark.slow),
    ],
)
def test_backbone_and_neck_compile_without_a_break(config, form):
    model = with_neck(config).eval()
    if form == 'deployed':
        model = reparameterize(model)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    for size in (64, 96):
        x = torch.rand(1, 3, size, size)
        with torch.no_grad():
            for a, b in zip(compiled(x), model(x), strict=True):
                torch.testing.assert_close(a, b)


@needs_tracing
def test_backbone_and_neck_train_compiled():
    model = with_neck('fpn_tinyvim_s_40k_ade20k').train()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    x = torch.rand(2, 3, 64, 64)
    gradients = []
    for run in (model, compiled):
        model.zero_grad()
        sum(out.square().mean() for out in run(x)).backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-3, atol=1e-5, msg=name)


@needs_tracing
@pytest.mark.parametrize('form', FORMS)
def test_classifier_compiles_without_a_break(form):
    pytest.importorskip('mmpretrain.models')
    from mmpretrain.registry import MODELS

    cfg = tinyvim_mm.get_config('tinyvim_s_300e_in1k')
    cfg.model.update(distillation=None, train_cfg=None)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model).eval()
    if form == 'deployed':
        model = reparameterize(model)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x))


# -- memory format ---------------------------------------------------------------------


@pytest.mark.parametrize('form', FORMS)
def test_every_layer_keeps_channels_last(form):
    model = network(form).to(memory_format=torch.channels_last)
    strayed = []

    def check(name):
        def hook(module, inputs, output):
            is_map = isinstance(output, torch.Tensor) and output.dim() == 4
            if is_map and not output.is_contiguous(memory_format=torch.channels_last):
                strayed.append(name)

        return hook

    for name, module in model.named_modules():
        if not isinstance(module, nn.LayerNorm):  # whose maps have the channels last by shape
            module.register_forward_hook(check(name))
    with torch.no_grad():
        model(torch.rand(2, 3, 128, 96).to(memory_format=torch.channels_last))
    assert not strayed


# -- autocast ----------------------------------------------------------------------------


@halves
@pytest.mark.parametrize('form', FORMS)
def test_autocast_stays_near_fp32(form, dtype):
    model = network(form)
    x = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        expected = model(x)
        with torch.autocast('cpu', dtype):
            outputs = model(x)
    limit = 0.05 if dtype == torch.bfloat16 else 0.01
    for out, truth in zip(outputs, expected, strict=True):
        assert relative_error(out.float().numpy(), truth.numpy()) < limit


@halves
@pytest.mark.parametrize('form', FORMS)
def test_a_half_precision_model_runs(form, dtype):
    model = network(form)
    x = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        expected = model(x)
        outputs = model.to(dtype)(x.to(dtype))
    for out, truth in zip(outputs, expected, strict=True):
        assert out.dtype == dtype
        assert relative_error(out.float().numpy(), truth.numpy()) < 0.1


@halves
def test_the_scan_is_fp32_inside_autocast(dtype):
    """Its result differs from fp32's only as its rounded input and output do."""
    torch.manual_seed(0)
    layer = SS2D(8, d_state=4, dt_rank=2)
    # Long memory and large values: a half-precision state would overflow or stall.
    nn.init.constant_(layer.A_logs, -6.0)
    x = (torch.rand(1, 8, 24, 24) * 100).to(dtype)
    with torch.no_grad():
        expected = layer(x.float())
        with torch.autocast('cpu', dtype):
            out = layer(x)
    assert out.isfinite().all()
    limit = 2e-2 if dtype == torch.bfloat16 else 3e-3
    assert relative_error(out.float().numpy(), expected.numpy()) < limit


@halves
def test_training_under_autocast_gives_fp32_gradients_that_are_finite(dtype):
    model = network('training form', with_cp=False).train()
    with torch.autocast('cpu', dtype):
        outputs = model(torch.rand(2, 3, 64, 64) * 50)
        loss = sum(out.float().square().mean() for out in outputs)
    loss.backward()
    for name, p in model.named_parameters():
        assert p.grad.dtype == torch.float32, name
        assert p.grad.isfinite().all(), name


# -- CUDA graphs -------------------------------------------------------------------------


def with_recorder(model, **options):
    """Its bookkeeping without a GPU: "recording" runs the model on the fixed places."""
    graphs, recorded = CUDAGraphs(model, **options), []

    def capture(function, places):
        outputs = function(*places)
        recorded.append(tuple(places[0].shape))

        def replay():
            for out, new in zip(outputs, function(*places), strict=True):
                out.copy_(new)

        return replay, outputs

    graphs._capture = capture
    return graphs, recorded


def test_cuda_graphs_are_recorded_once_for_each_signature():
    model = network('deployed')
    graphs, recorded = with_recorder(model)
    a, b, c = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64), torch.rand(2, 3, 32, 64)
    with torch.no_grad():
        expected = {x: model(x) for x in (a, b, c)}
    results = {x: graphs(x) for x in (a, b, c)}  # all kept: later calls must not write into them
    for x, truth in expected.items():
        for out, true in zip(results[x], truth, strict=True):
            torch.testing.assert_close(out, true)
    assert recorded == [(1, 3, 64, 64), (2, 3, 32, 64)]
    graphs(c.to(memory_format=torch.channels_last))
    assert len(recorded) == 3


def test_cuda_graphs_say_what_they_cannot_do():
    with pytest.raises(ValueError, match='needs its inputs on a CUDA device, got one on cpu'):
        CUDAGraphs(network('deployed'))(torch.rand(1, 3, 64, 64))
    with pytest.raises(RuntimeError, match='model is in training mode'):
        CUDAGraphs(network('training form').train())(torch.rand(1, 3, 64, 64))
    graphs, _ = with_recorder(network('deployed'), max_graphs=1)
    graphs(torch.rand(1, 3, 64, 64))
    with pytest.raises(RuntimeError, match=r'holds 1 recordings.*got another size'):
        graphs(torch.rand(1, 3, 32, 64))


@pytest.mark.gpu
def test_cuda_graphs_replay_what_the_model_computes():
    model = network('deployed').cuda()
    graphs = CUDAGraphs(model)
    for size in ((64, 64), (96, 64), (64, 64)):
        x = torch.rand(1, 3, *size, device='cuda')
        with torch.no_grad():
            for out, truth in zip(graphs(x), model(x), strict=True):
                torch.testing.assert_close(out, truth, rtol=1e-4, atol=1e-5)
