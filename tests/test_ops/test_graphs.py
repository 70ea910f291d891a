"""torch.compile, torch.export and the registration of the compiled operators."""

import golden
import pytest
import torch
from scan_cases import needs_library, scan_arguments, ss2d_arguments
from torch_abilities import needs_export, needs_opcheck, needs_tracing

pytest.importorskip('mmengine')

from tinyvim_mm.models import TinyViM
from tinyvim_mm.models.layers import SS2D
from tinyvim_mm.ops import available_backends

TINY = {'embed_dims': [8, 12, 16, 20], 'depths': [1, 1, 1, 1]}
TRACEABLE = [name for name in ('cpu', 'parallel') if available_backends('cpu')[name] is None]


@needs_library
@needs_opcheck
@pytest.mark.parametrize('channels_last', [False, True])
def test_opcheck_of_ss2d(channels_last):
    x, *weights = ss2d_arguments(4, 5)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    arguments = [t.requires_grad_() for t in (x, *weights)]
    torch.library.opcheck(torch.ops.tinyvim_mm.ss2d.default, (*arguments, [0, 1, 2, 3]))
    detached = [t.detach() for t in arguments]
    torch.library.opcheck(
        torch.ops.tinyvim_mm.ss2d_backward.default, (torch.randn(x.shape), *detached, [0] * 4)
    )


@needs_library
@needs_opcheck
@pytest.mark.parametrize('options', [True, False])
def test_opcheck_of_selective_scan(options):
    a = scan_arguments(9)
    names = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')
    tensors = [a[name].requires_grad_() for name in names]
    if not options:
        tensors[5:] = [None, None]
    torch.library.opcheck(torch.ops.tinyvim_mm.selective_scan.default, (*tensors, True))


@needs_tracing
@pytest.mark.parametrize('backend', TRACEABLE)
def test_backbone_compiles_without_graph_breaks_and_trains(backend):
    # With fixed statistics no gradient is zero but for rounding.
    model = TinyViM(TINY, ssm_backend=backend, norm_eval=True).train()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    x = torch.randn(2, 3, 64, 96)
    gradients = []
    for forward in (model, compiled):
        model.zero_grad()
        sum(out.square().sum() for out in forward(x)).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    names = [name for name, _ in model.named_parameters()]
    for name, eager, traced in zip(names, *gradients, strict=True):
        golden.assert_close(name, traced, eager, 1e-4)


# One backend: the others take a minute of compilation.
@needs_tracing
@pytest.mark.parametrize('backend', TRACEABLE[:1])
def test_scan_compiles_with_inductor_for_any_size(backend):
    layer = SS2D(6, d_state=4, backend=backend)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True)
    for height, width in ((3, 4), (5, 7)):
        x = torch.randn(1, 6, height, width)
        torch.testing.assert_close(compiled(x), layer(x))


@needs_export
@pytest.mark.parametrize('backend', TRACEABLE)
def test_backbone_exports(backend):
    model = TinyViM(TINY, ssm_backend=backend).eval()
    x = torch.randn(1, 3, 64, 96)
    program = torch.export.export(model, (x,))
    for exported, eager in zip(program.module()(x), model(x), strict=True):
        torch.testing.assert_close(exported, eager)
