"""torch.compile, torch.export and the registration of the operators."""

import golden
import pytest
import torch
from scan_cases import (
    SCAN_TENSORS,
    Subject,
    over,
    recurrence_arguments,
    scan_arguments,
    ss2d_arguments,
)
from torch import nn
from torch_abilities import needs_export, needs_opcheck, needs_tracing

from tinyvim_mm.ops import (
    CROSS_SCAN,
    available_backends,
    position_table,
    rows,
    selective_scan,
    ss2d,
)
from tinyvim_mm.ops.backends import compiled, triton_scan
from tinyvim_mm.ops.backends.registration import SCHEMAS, register

TINY = {'embed_dims': [8, 12, 16, 20], 'depths': [1, 1, 1, 1]}
TRACEABLE = [name for name in ('cpu', 'parallel') if available_backends('cpu')[name] is None]
ONE_IS_QUICK = [
    *TRACEABLE[:1],
    *(pytest.param(name, marks=pytest.mark.slow) for name in TRACEABLE[1:]),
]
NAMESPACES = {
    'cpu': compiled.NAMESPACE,
    'cuda': compiled.NAMESPACE,
    'triton': triton_scan.NAMESPACE,
    'emulation': 'tinyvim_mm_emulated',
}
TRITON = Subject('triton')
GPU = [Subject('cuda', 'cuda'), Subject('triton', 'cuda')]
OPERATORS = [Subject('cpu'), Subject('emulation'), *GPU]


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch.compiler.reset()  # the number of forms of a function is limited


def operators(subject):
    return getattr(torch.ops, NAMESPACES[subject.backend])


def check_operators(subject, function, arguments):
    """Both operators with what a function of ``rows`` gives them, which is views."""
    *tensors, positions, paths, width, softplus, _ = recurrence_arguments(function, *arguments)
    tensors = [t if t is None else t.detach().to(subject.device) for t in tensors]
    leaves = [t if t is None else t.clone().requires_grad_() for t in tensors]
    others = positions, paths, width, softplus
    scan = operators(subject).scan.default
    for kept in ((False, False), (True, True)):
        torch.library.opcheck(scan, (*leaves, *others, *kept))
    y, state, checkpoints = scan(*tensors, *others, True, True)
    backward = operators(subject).scan_backward.default
    grads = torch.randn_like(y), torch.randn_like(state)
    torch.library.opcheck(backward, (*grads, checkpoints, *tensors, *others))
    torch.library.opcheck(backward, (grads[0], None, None, *tensors, *others))


def check_ss2d(subject, arguments, order):
    x, *weights = arguments
    check_operators(subject, rows.ss2d, (x, rows.ss2d_weights(*weights), order))


def check_selective_scan(subject, options, length):
    a = scan_arguments(length, N=2, batch=1)
    tensors = [a[name] for name in SCAN_TENSORS]
    if not options:
        tensors[5:] = [None, None]
    check_operators(subject, rows.selective_scan, (*tensors, True))


@needs_opcheck
@pytest.mark.parametrize('channels_last', [False, True])
@over(OPERATORS)
def test_opcheck_of_ss2d(channels_last, subject):
    x, *weights = ss2d_arguments(4, 5)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    check_ss2d(subject, (x, *weights), CROSS_SCAN)


@needs_opcheck
@over(OPERATORS)
def test_opcheck_of_ss2d_with_one_path(subject):
    check_ss2d(subject, ss2d_arguments(4, 5, K=1), CROSS_SCAN[1:2])


@needs_opcheck
@pytest.mark.parametrize('options', [True, False])
@over(OPERATORS)
def test_opcheck_of_selective_scan(options, subject):
    check_selective_scan(subject, options, 9)


@needs_opcheck
@over([TRITON])
def test_opcheck_of_triton(subject):
    check_ss2d(subject, ss2d_arguments(1, 2, N=2, K=1, batch=1), CROSS_SCAN[1:2])


@pytest.mark.slow  # the interpreter runs each of them many times
@needs_opcheck
@over([TRITON])
def test_opchecks_of_triton_with_other_arguments(subject):
    x, *weights = ss2d_arguments(2, 3, N=2, batch=1)
    for other in (x, x.to(memory_format=torch.channels_last)):
        check_ss2d(subject, (other, *weights), CROSS_SCAN)
    for options in (True, False):
        check_selective_scan(subject, options, 3)


class Layer(nn.Module):
    def __init__(self, subject, paths, height, width):
        super().__init__()
        self.backend = subject.backend
        arguments = ss2d_arguments(height, width, N=2, K=len(paths), batch=1)
        self.x, *weights = (t.to(subject.device) for t in arguments)
        self.weights = nn.ParameterList(weights)
        if isinstance(paths, torch.Tensor):
            self.register_buffer('paths', paths.to(subject.device))
        else:
            self.paths = paths

    def forward(self, x):
        weights = list(self.weights)  # dynamo of torch 2.11 cannot unpack the module itself
        return ss2d(2 * x, *weights, self.paths, backend=self.backend).square()


GRAPHS = [Subject(name) for name in (*TRACEABLE, 'exportable', 'emulation')]
#: Of these it takes tens of seconds; what differs is a number of steps.
LARGE_GRAPHS = [Subject('exportable_any_size', slow=True)]


@needs_tracing
@pytest.mark.parametrize('order', ['paths', 'table'])
@over([*GRAPHS, *LARGE_GRAPHS, TRITON, *GPU])
def test_compiles_without_a_graph_break(subject, order):
    paths = CROSS_SCAN[1:2] if subject == TRITON else CROSS_SCAN
    layer = Layer(subject, paths if order == 'paths' else position_table(paths, 2, 3), 2, 3)
    compiled_layer = torch.compile(layer, fullgraph=True, backend='aot_eager')
    results = []
    for function in (layer, compiled_layer):
        layer.zero_grad()
        y = function(layer.x)
        y.sum().backward()
        results.append([y, *(w.grad for w in layer.weights)])
    for i, (eager, traced) in enumerate(zip(*results, strict=True)):
        golden.assert_close(f'result {i}', traced, eager, 1e-6)


@needs_export
@pytest.mark.parametrize('order', ['paths', 'table'])
@over([*GRAPHS, *LARGE_GRAPHS, TRITON])
def test_exports(subject, order):
    paths = CROSS_SCAN[1:2] if subject == TRITON else CROSS_SCAN
    layer = Layer(subject, paths if order == 'paths' else position_table(paths, 2, 3), 2, 3)
    exported = torch.export.export(layer, (layer.x,)).module()
    golden.assert_close('y', exported(layer.x), layer(layer.x), 1e-6)


@needs_tracing
def test_the_slow_path_compiles_without_a_graph_break(monkeypatch):
    monkeypatch.setattr(compiled, 'LIBRARY_PROBLEM', compiled._NO_CUDA_KERNELS)
    monkeypatch.setattr('tinyvim_mm.ops.backends._announced', set())
    x, *weights = ss2d_arguments(3, 4)
    function = torch.compile(lambda t: ss2d(t, *weights), fullgraph=True, backend='aot_eager')
    with pytest.warns(UserWarning, match="the 'cpu' backend cannot run: the operators were"):
        y = function(x)
    torch.testing.assert_close(y, ss2d(x, *weights))


@needs_tracing
@pytest.mark.parametrize('backend', ONE_IS_QUICK)
def test_backbone_compiles_without_graph_breaks_and_trains(backend):
    TinyViM = pytest.importorskip('tinyvim_mm.models').TinyViM
    # With fixed statistics no gradient is zero but for rounding.
    model = TinyViM(TINY, ssm_backend=backend, norm_eval=True).train()
    compiled_model = torch.compile(model, fullgraph=True, backend='aot_eager')
    x = torch.randn(2, 3, 64, 96)
    gradients = []
    for forward in (model, compiled_model):
        model.zero_grad()
        sum(out.square().sum() for out in forward(x)).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    names = [name for name, _ in model.named_parameters()]
    for name, eager, traced in zip(names, *gradients, strict=True):
        golden.assert_close(name, traced, eager, 1e-4)


# One backend: the others take a minute of compilation.
@pytest.mark.slow
@needs_tracing
@pytest.mark.parametrize('backend', TRACEABLE[:1])
def test_scan_compiles_with_inductor_for_any_size(backend):
    SS2D = pytest.importorskip('tinyvim_mm.models.layers').SS2D
    layer = SS2D(6, d_state=4, backend=backend)
    compiled_layer = torch.compile(layer, fullgraph=True, dynamic=True)
    for height, width in ((3, 4), (5, 7)):
        x = torch.randn(1, 6, height, width)
        torch.testing.assert_close(compiled_layer(x), layer(x))


@pytest.mark.gpu
@pytest.mark.parametrize('backend', ['cuda', 'triton'])
def test_the_scan_compiles_with_inductor_on_a_gpu(backend):
    x, *weights = (t.cuda() for t in ss2d_arguments(7, 7))
    function = torch.compile(lambda t: ss2d(t, *weights, backend=backend) + 1, fullgraph=True)
    torch.testing.assert_close(function(x), ss2d(x, *weights, backend=backend) + 1)


@needs_export
@pytest.mark.parametrize('backend', ONE_IS_QUICK)
def test_backbone_exports(backend):
    TinyViM = pytest.importorskip('tinyvim_mm.models').TinyViM
    model = TinyViM(TINY, ssm_backend=backend).eval()
    x = torch.randn(1, 3, 64, 96)
    program = torch.export.export(model, (x,))
    for exported, eager in zip(program.module()(x), model(x), strict=True):
        torch.testing.assert_close(exported, eager)


@over([TRITON])
def test_before_torch_24_autograd_works_without_registration(monkeypatch, subject):
    arguments = ss2d_arguments(1, 2, N=2, batch=1)
    a = [scan_arguments(3, N=2, batch=1)[name] for name in SCAN_TENSORS[:5]]

    def gradients():
        results = []
        for function, tensors in ((ss2d, arguments), (selective_scan, a)):
            leaves = [t.detach().requires_grad_() for t in tensors]
            y = function(*leaves, backend='triton')
            results += [y, *torch.autograd.grad(y.sum(), leaves)]
        return results

    expected = gradients()
    monkeypatch.delattr(torch.library, 'register_autograd', raising=False)
    monkeypatch.setattr(triton_scan, '_recurrence', register(triton_scan.NAMESPACE))
    for got, wanted in zip(gradients(), expected, strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.skipif(compiled.LIBRARY_PROBLEM is not None, reason=str(compiled.LIBRARY_PROBLEM))
@pytest.mark.parametrize('name', SCHEMAS)
def test_schemas_are_those_of_the_compiled_operators(name):
    schemas = [
        str(getattr(getattr(torch.ops, namespace), name).default._schema).partition('::')[2]
        for namespace in (compiled.NAMESPACE, triton_scan.NAMESPACE)
    ]
    assert schemas[0] == schemas[1]
