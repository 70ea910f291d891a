"""The Triton kernels: in the interpreter on a CPU, on a GPU where one is, and compiled without one.

The interpreter takes milliseconds per step, hence the small shapes.
"""

import json
import os
import subprocess
import sys

import golden
import pytest
import torch
from scan_cases import compare, scan_arguments, ss2d_arguments
from torch import nn

from tinyvim_mm.ops import BIDIRECTIONAL, CROSS_SCAN, ScanPath, selective_scan, ss2d
from tinyvim_mm.ops.backends import BACKENDS, choose_backend, compiled, triton_scan
from tinyvim_mm.ops.backends.registration import register

OBSTACLE = triton_scan.obstacle(torch.device('cpu'), torch.float32)
needs_interpreter = pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))
needs_triton = pytest.mark.skipif(
    not triton_scan._is_installed() or 'too old' in str(OBSTACLE), reason=str(OBSTACLE)
)
on_devices = pytest.mark.parametrize(
    'device',
    [pytest.param('cpu', marks=needs_interpreter), pytest.param('cuda', marks=pytest.mark.gpu)],
)
WEIGHTS = ('x_proj_weight', 'dt_projs_weight', 'dt_projs_bias', 'A_logs', 'Ds')


def on(device, function):
    """The function computed on a device, its arguments and result on the CPU."""

    def moved(*arguments, **options):
        y = function(*(argument.to(device) for argument in arguments), **options)
        return y.cpu()

    return moved


def run_python(code, **environment):
    """What a fresh Python prints; ``None`` removes a variable."""
    variables = {**os.environ, **environment}
    variables = {name: value for name, value in variables.items() if value is not None}
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=variables
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ----------------------------------------------------------------------------
# Against the sequential form in float64
# ----------------------------------------------------------------------------


# 65 and 130 take several segments of the backward.
@on_devices
@pytest.mark.parametrize('length', [1, 2, 31, 32, 33, 49, 65, 130])
def test_selective_scan_over_lengths(length, device):
    arguments = scan_arguments(length, N=4, dim=2, groups=1, batch=1)
    compare(on(device, selective_scan), arguments.values(), 'triton', 1e-5, delta_softplus=True)


@pytest.mark.gpu
@pytest.mark.parametrize('length', [256, 1050, 2049])
def test_selective_scan_over_great_lengths(length):
    arguments = scan_arguments(length, N=8, dim=70, groups=2)
    compare(on('cuda', selective_scan), arguments.values(), 'triton', 1e-5, delta_softplus=True)


@on_devices
@pytest.mark.parametrize('N', [1, 3, 4, 8, 16, 64])
def test_selective_scan_over_states(N, device):
    arguments = scan_arguments(9, N=N, dim=7, groups=1, batch=1)
    compare(on(device, selective_scan), arguments.values(), 'triton', 1e-5, delta_softplus=True)


# More than one tile of channels, in the forward and the backward kernel.
@on_devices
@pytest.mark.parametrize(('dim', 'groups'), [(35, 1), (18, 2), (3, 3)])
def test_selective_scan_over_channels_and_groups(dim, groups, device):
    arguments = scan_arguments(5, N=8, dim=dim, groups=groups)
    compare(on(device, selective_scan), arguments.values(), 'triton', 1e-5, delta_softplus=True)


@on_devices
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (9, 1), (4, 6)])
def test_ss2d_over_sizes(size, device):
    compare(on(device, ss2d), ss2d_arguments(*size, N=4, batch=1), 'triton', 1e-5)


@on_devices
def test_ss2d_with_several_tiles_and_samples(device):
    compare(on(device, ss2d), ss2d_arguments(2, 3, d=35, N=8), 'triton', 1e-5)


@on_devices
@pytest.mark.parametrize('paths', [BIDIRECTIONAL, (ScanPath(True, True),), CROSS_SCAN[1:]])
def test_ss2d_takes_other_paths(paths, device):
    arguments = ss2d_arguments(3, 4, N=4, K=len(paths), batch=1)
    compare(on(device, ss2d), arguments, 'triton', 1e-5, paths=paths)


@needs_interpreter
def test_too_many_paths_are_refused():
    arguments = ss2d_arguments(1, 1, K=32, batch=1)
    with pytest.raises(ValueError, match=r"at most 31 paths, got 32; .*'parallel'"):
        ss2d(*arguments, CROSS_SCAN * 8, backend='triton')


@on_devices
@pytest.mark.parametrize('case', ['square', 'wide'])
def test_ss2d_agrees_with_the_released_operator(case, device):
    data = golden.load('ss2d_op_golden')
    x, *weights = (data[f'{case}/{name}'].requires_grad_() for name in ('x', *WEIGHTS))
    y = on(device, ss2d)(x, *weights, backend='triton').permute(0, 2, 3, 1)
    y.backward(golden.golden_input(f'{case}-cot', y.shape))
    golden.assert_close('y', y, data[f'{case}/y'], golden.FEATURE_LIMIT)
    for name, tensor in zip(('x', *WEIGHTS), (x, *weights), strict=True):
        expected = data[f'{case}/grad_{name}']
        golden.assert_close(f'grad {name}', tensor.grad, expected, golden.GRADIENT_LIMIT)


# ----------------------------------------------------------------------------
# Types, strides, options
# ----------------------------------------------------------------------------


HALVES = pytest.mark.parametrize(
    ('dtype', 'limit'), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)]
)


@on_devices
@HALVES
def test_ss2d_in_half_precision(dtype, limit, device):
    arguments = [a.to(dtype) for a in ss2d_arguments(3, 5, N=4, batch=1)]
    compare(on(device, ss2d), arguments, 'triton', limit)


@on_devices
@HALVES
def test_selective_scan_in_half_precision(dtype, limit, device):
    arguments = [a.to(dtype) for a in scan_arguments(9, N=4, batch=1).values()]
    compare(on(device, selective_scan), arguments, 'triton', limit, delta_softplus=True)


@on_devices
def test_mixed_types(device):
    x, *weights = ss2d_arguments(3, 5, N=4, batch=1)
    compare(on(device, ss2d), [x.bfloat16(), *weights], 'triton', 2e-2)
    types = (torch.float16, torch.float32, torch.float32, torch.bfloat16, torch.float16)
    tensors = list(scan_arguments(9, N=4, batch=1).values())
    tensors[:5] = [t.to(dtype) for t, dtype in zip(tensors, types, strict=False)]
    compare(on(device, selective_scan), tensors, 'triton', 2e-2, delta_softplus=True)


@on_devices
def test_any_strides(device):
    x, *weights = ss2d_arguments(3, 5, N=4)
    weights = [w.transpose(0, -1).contiguous().transpose(0, -1) for w in weights]
    strided = torch.zeros(2, 5, 6, 10)[:, :, ::2, ::2].copy_(x)
    function = on(device, ss2d)
    expected = function(x, *weights, backend='triton')
    for other in (x.to(memory_format=torch.channels_last), strided):
        assert torch.equal(function(other, *weights, backend='triton'), expected)
    compare(function, [strided, *weights], 'triton', 1e-5)


@on_devices
def test_selective_scan_without_options(device):
    a = scan_arguments(9, N=4, batch=1)
    arguments = [a['u'], a['delta'].abs(), a['A'], a['B'], a['C']]
    compare(on(device, selective_scan), arguments, 'triton', 1e-5)


@on_devices
def test_constant_coefficients(device):
    a = scan_arguments(5, N=4, batch=1)
    arguments = [a['u'], a['delta'], a['A'], torch.randn(4, 4), torch.randn(4, 4)]
    compare(on(device, selective_scan), arguments, 'triton', 1e-5, delta_softplus=True)


@on_devices
def test_last_state_and_its_gradient(device):
    names = ('u', 'delta', 'A', 'B', 'C')
    results = []
    for backend, dtype in (('triton', torch.float32), ('reference', torch.float64)):
        torch.manual_seed(1)
        a = scan_arguments(70, N=3, dim=2, groups=1, batch=1)
        arguments = [a[name].to(device, dtype).requires_grad_() for name in names]
        y, state = selective_scan(
            *arguments, delta_softplus=True, return_last_state=True, backend=backend
        )
        weight = torch.randn(state.shape).to(state)
        alone = torch.autograd.grad((state * weight).sum(), arguments[:4], retain_graph=True)
        both = torch.autograd.grad(y.sum() + (state * weight).sum(), arguments)
        results.append([y, state, *alone, *both])
    for i, (got, expected) in enumerate(zip(*results, strict=True)):
        golden.assert_close(f'result {i}', got, expected, 1e-5)


@on_devices
def test_softplus_over_its_whole_range(device):
    # One step from zero state: y = dt, and its gradient is the derivative.
    raw = torch.tensor([-80.0, -30.0, -15.0, -7.0, -1.0, 0.0, 3.0, 19.9, 20.1, 90.0])
    delta = raw.view(1, -1, 1).clone().requires_grad_()
    one = torch.ones(1, 10, 1)
    y = on(device, selective_scan)(
        one, delta, torch.zeros(10, 1), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1),
        delta_softplus=True, backend='triton',
    )  # fmt: skip
    y.sum().backward()
    exact = raw.double().requires_grad_()
    expected = torch.nn.functional.softplus(exact)
    expected.sum().backward()
    torch.testing.assert_close(y.flatten().double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(delta.grad.flatten().double(), exact.grad, rtol=1e-5, atol=0)


@on_devices
def test_results_repeat_bit_by_bit(device):
    arguments = [a.to(device).requires_grad_() for a in ss2d_arguments(3, 5, d=9, N=4, batch=1)]
    runs = []
    for _ in range(2 if device == 'cpu' else 10):
        y = ss2d(*arguments, backend='triton')
        runs.append([y, *torch.autograd.grad(y.square().sum(), arguments)])
    for run in runs[1:]:
        assert all(torch.equal(first, later) for first, later in zip(runs[0], run, strict=True))


@on_devices
def test_nan_passes_through_visibly(device):
    x, *weights = ss2d_arguments(2, 2, N=4)
    x[0, 0, 1, 1] = float('nan')
    y = on(device, ss2d)(x, *weights, backend='triton')
    assert y[0].isnan().any()
    assert not y[1].isnan().any()


@on_devices
@pytest.mark.parametrize('shape', [(0, 4, 3), (2, 4, 0)])
def test_empty_sequences(shape, device):
    batch, dim, length = shape
    a = scan_arguments(length, N=3, dim=dim, batch=batch)
    arguments = [t.to(device).requires_grad_() for t in a.values()]
    y, state = selective_scan(
        *arguments, delta_softplus=True, return_last_state=True, backend='triton'
    )
    assert y.shape == shape
    assert torch.equal(state, torch.zeros(batch, dim, 3, device=device))
    (y.sum() + state.sum()).backward()
    assert all(argument.grad.count_nonzero() == 0 for argument in arguments)


@on_devices
def test_autocast_does_not_lower_the_precision(device):
    arguments = [a.to(device) for a in ss2d_arguments(3, 3, N=4, batch=1)]
    expected = ss2d(*arguments, backend='triton')
    with torch.autocast(device, torch.bfloat16):
        assert torch.equal(ss2d(*arguments, backend='triton'), expected)


# ----------------------------------------------------------------------------
# As operators of torch
# ----------------------------------------------------------------------------


@on_devices
@pytest.mark.parametrize('channels_last', [False, True])
def test_opcheck_of_ss2d(channels_last, device):
    x, *weights = (t.to(device) for t in ss2d_arguments(2, 3, N=2, batch=1))
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    arguments = [t.requires_grad_() for t in (x, *weights)]
    operators = torch.ops.tinyvim_mm_triton
    torch.library.opcheck(operators.ss2d.default, (*arguments, [0, 1, 2, 3]))
    detached = [t.detach() for t in arguments]
    grad_y = torch.randn_like(detached[0])
    torch.library.opcheck(operators.ss2d_backward.default, (grad_y, *detached, [0] * 4))


@on_devices
@pytest.mark.parametrize('options', [True, False])
def test_opcheck_of_selective_scan(options, device):
    a = scan_arguments(3, N=2, batch=1)
    names = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')
    tensors = [a[name].to(device).requires_grad_() for name in names]
    if not options:
        tensors[5:] = [None, None]
    torch.library.opcheck(torch.ops.tinyvim_mm_triton.selective_scan.default, (*tensors, True))


@on_devices
def test_compiles_without_a_graph_break(device):
    class Layer(nn.Module):
        def __init__(self, weights):
            super().__init__()
            self.weights = nn.ParameterList(weights)

        def forward(self, x):
            return ss2d(2 * x, *self.weights, backend='triton').square()

    x, *weights = (t.to(device) for t in ss2d_arguments(2, 3, N=2, batch=1))
    layer = Layer(weights)
    compiled_layer = torch.compile(layer, fullgraph=True, backend='aot_eager')
    results = []
    for function in (layer, compiled_layer):
        layer.zero_grad()
        y = function(x)
        y.sum().backward()
        results.append([y, *(w.grad for w in layer.weights)])
    for eager, traced in zip(*results, strict=True):
        torch.testing.assert_close(traced, eager)
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x), layer(x))


@needs_interpreter
def test_before_torch_24_autograd_works_without_registration(monkeypatch):
    monkeypatch.delattr(torch.library, 'register_autograd')
    monkeypatch.setattr(triton_scan, '_operators', register('tinyvim_mm_triton'))
    compare(ss2d, ss2d_arguments(2, 2, N=2, batch=1), 'triton', 1e-5)
    a = scan_arguments(3, N=2, batch=1)
    compare(selective_scan, [a[n] for n in ('u', 'delta', 'A', 'B', 'C')], 'triton', 1e-5)


@pytest.mark.skipif(compiled.LIBRARY_PROBLEM is not None, reason=str(compiled.LIBRARY_PROBLEM))
@pytest.mark.parametrize(
    'name', ['ss2d', 'ss2d_backward', 'selective_scan', 'selective_scan_backward']
)
def test_schemas_are_those_of_the_compiled_operators(name):
    schemas = [
        str(getattr(getattr(torch.ops, namespace), name).default._schema).partition('::')[2]
        for namespace in ('tinyvim_mm', 'tinyvim_mm_triton')
    ]
    assert schemas[0] == schemas[1]


# ----------------------------------------------------------------------------
# Availability
# ----------------------------------------------------------------------------


def test_importing_the_operators_does_not_import_triton():
    code = 'import tinyvim_mm.ops, sys; print("triton" in sys.modules)'
    assert run_python(code) == 'False'


def test_obstacles_name_the_cure(monkeypatch):
    cpu, cuda = torch.device('cpu'), torch.device('cuda')
    assert 'computes on CUDA devices' in triton_scan.obstacle(torch.device('mps'), torch.float32)
    assert "choose 'parallel'" in triton_scan.obstacle(cuda, torch.float64)
    monkeypatch.setattr(triton_scan, '_is_installed', lambda: False)
    assert 'pip install triton' in triton_scan.obstacle(cuda, torch.float32)
    monkeypatch.setattr(triton_scan, '_is_installed', lambda: True)
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    assert 'set TRITON_INTERPRET=1 before' in triton_scan.obstacle(cpu, torch.float32)


def test_missing_tools_for_the_launcher_are_named(monkeypatch):
    launch_obstacle = triton_scan._launch_obstacle.__wrapped__
    monkeypatch.setattr(triton_scan.shutil, 'which', lambda name: None)
    monkeypatch.delenv('CC', raising=False)
    assert 'finds none: install one' in launch_obstacle(torch.device('cuda'))
    monkeypatch.setenv('CC', 'gcc')
    monkeypatch.setattr(triton_scan.sysconfig, 'get_paths', lambda: {'include': '/nowhere'})
    assert '/nowhere/Python.h is missing' in launch_obstacle(torch.device('cuda'))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (6, 1))
    assert 'cuda has 6.1' in launch_obstacle(torch.device('cuda'))


@needs_interpreter
def test_on_a_gpu_the_interpreter_is_an_obstacle():
    obstacle = triton_scan.obstacle(torch.device('cuda'), torch.float32)
    assert 'unset that variable' in obstacle


@needs_triton
@pytest.mark.parametrize('early', ['triton', 'tinyvim_mm.ops.backends.triton_kernels'])
def test_choosing_the_interpreter_too_late_is_said(early):
    code = (
        f'import os, torch, {early}; from tinyvim_mm.ops.backends import triton_scan; '
        'os.environ["TRITON_INTERPRET"] = "1"; '
        'print(triton_scan.obstacle(torch.device("cpu"), torch.float32))'
    )
    assert 'start' in run_python(code, TRITON_INTERPRET=None)


def test_automatic_choice_takes_triton_on_gpus_only(monkeypatch):
    for name in ('cuda', 'cpu'):
        unavailable = type(BACKENDS[name])(name, None, None, lambda device, dtype: 'not built')
        monkeypatch.setitem(BACKENDS, name, unavailable)
    works = type(BACKENDS['triton'])('triton', None, None)
    monkeypatch.setitem(BACKENDS, 'triton', works)
    monkeypatch.setattr('tinyvim_mm.ops.backends._announced', set())

    class OnGpu:
        device, dtype = torch.device('cuda'), torch.float32

    assert choose_backend('auto', OnGpu) is works
    with pytest.warns(UserWarning, match="the 'cpu' backend cannot run: not built"):
        assert choose_backend('auto', torch.zeros(1)).name == 'parallel'


# ----------------------------------------------------------------------------
# Compiled for GPUs without one: types that the interpreter does not check
# ----------------------------------------------------------------------------

COMPILE = """
import json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tinyvim_mm.ops.backends import triton_kernels

INTEGERS = set(triton_kernels.GRADIENT_INTEGERS)
FLOATS = {}
MIXED = {
    'x': '*bf16', 'delta': '*fp16', 'B': '*bf16', 'C': '*fp16', 'A': '*bf16', 'dy': '*fp16',
    'x_b': 'i64', 'delta_k': 'i64', 'codes': 'i64',
}

def compiled(kernel, capability, types, absent, N, log_a):
    constants = {
        'STATES': N, 'SOFTPLUS': True, 'LOG_A': log_a, 'BLOCK_D': 16,
        'BLOCK_N': triton.next_power_of_2(N),
    }
    constants.update({name: None for name in absent if name in kernel.arg_names})
    signature = {}
    for name in kernel.arg_names:
        kind = types.get(name, 'i32' if name in INTEGERS else '*fp32')
        signature[name] = 'constexpr' if name in constants else kind
    source = ASTSource(kernel, signature, constants)
    options = {'num_warps': 1, 'num_stages': 1}
    return triton.compile(source, target=GPUTarget('cuda', capability, 32), options=options).asm

results = {}
for kernel in (triton_kernels.scan_forward, triton_kernels.scan_backward):
    for capability, types, absent, N, log_a in (
        (75, FLOATS, ('last_state', 'dlast_state'), 1, True),
        (80, MIXED, ('D', 'bias'), 3, False),
        (90, FLOATS, ('last_state', 'dlast_state'), 8, True),
    ):
        asm = compiled(kernel, capability, types, absent, N, log_a)
        case = f'{kernel.__name__} for sm_{capability}'
        results[case] = ['cubin' in asm, 'lg2.approx' in asm['ptx']]
print(json.dumps(results))
"""


@needs_triton
def test_kernels_compile_for_gpus(tmp_path):
    pytest.importorskip('triton', minversion='3.3')  # its compiler takes these arguments
    printed = run_python(COMPILE, TRITON_INTERPRET=None, TRITON_CACHE_DIR=str(tmp_path))
    for case, (has_machine_code, approximates_log) in json.loads(printed).items():
        assert has_machine_code, case
        # Its error is absolute: percents where softplus is small.
        assert not approximates_log, case
