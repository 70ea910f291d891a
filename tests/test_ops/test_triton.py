"""Triton: when it can run, and that its kernels compile for GPUs without one.

What it computes is compared in ``test_conformance.py``.
"""

import json
import os
import re
import subprocess
import sys

import golden
import pytest
import torch
from scan_cases import ss2d_arguments

from tinyvim_mm.ops import CROSS_SCAN, Obstacle, ss2d
from tinyvim_mm.ops.backends import BACKENDS, Backend, choose_backend, triton_support

OBSTACLE = triton_support.obstacle(torch.device('cpu'), torch.float32)
needs_interpreter = pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))
needs_triton = pytest.mark.skipif(
    not triton_support._is_installed() or 'too old' in str(OBSTACLE), reason=str(OBSTACLE)
)


def run_python(code, **environment):
    """What a fresh Python prints; ``None`` removes a variable."""
    variables = {**os.environ, **environment}
    variables = {name: value for name, value in variables.items() if value is not None}
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=variables
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_interpreter
def test_more_paths_than_their_codes_fit_into_an_integer():
    arguments = ss2d_arguments(2, 1, d=2, R=1, N=1, K=32, batch=1)
    y, expected = (ss2d(*arguments, CROSS_SCAN * 8, backend=b) for b in ('triton', 'reference'))
    golden.assert_close('y', y, expected, 1e-5)


MISFITS = [
    ({'x': torch.zeros(1, 3, 4, 3)}, 'x must hold 1 map or one for each of the 2 paths, got 3'),
    ({'x': torch.zeros(4, 3)}, 'x and A must have 4 and 3 axes, got 2 and 3'),
    ({'x': torch.zeros(1, 1, 4, 3).double()}, 'x must be float32, float16 or bfloat16'),
    ({'step_weight': torch.zeros(2, 9, 3)}, 'step_weight must have shape (2, 3, 3), got (2, 9, 3)'),
    ({'B': torch.zeros(1, 2, 4, 5)}, 'B must have shape (1, 2, 4, 2), got (1, 2, 4, 5)'),
    ({'A': torch.zeros(2, 0, 3)}, 'A must hold a path and a state, got (2, 0, 3)'),
    ({'D': torch.zeros(2, 3).half()}, 'D must be torch.float32, got torch.float16'),
    ({'bias': torch.zeros(2, 3).to_sparse()}, 'bias must be dense'),
    ({'positions': torch.zeros(2, 4).long()}, 'positions must be torch.int32'),
    ({'paths': [0, 4]}, 'paths must hold 2 codes from 0 to 3, got [0, 4]'),
    ({'width': 3}, 'width must divide the 4 positions, got 3'),
]


@pytest.mark.parametrize(('change', 'message'), MISFITS, ids=lambda value: str(list(value))[:20])
def test_operators_refuse_what_does_not_fit(change, message):
    inputs = {
        'x': torch.zeros(1, 1, 4, 3), 'step': torch.zeros(1, 2, 4, 3), 'step_weight': None,
        'B': torch.zeros(1, 2, 4, 2), 'C': torch.zeros(1, 2, 4, 2), 'A': torch.zeros(2, 2, 3),
        'D': None, 'bias': None, 'positions': None, 'paths': [0, 1], 'width': 2, 'softplus': True,
    }  # fmt: skip
    inputs = {**inputs, **change}.values()
    with pytest.raises(ValueError, match=re.escape(f'scan: {message}')):
        torch.ops.tinyvim_mm_triton.scan(*inputs, False, False)
    with pytest.raises(ValueError, match=re.escape(f'scan: {message}')):
        torch.ops.tinyvim_mm_triton.scan_backward(torch.zeros(1, 1, 4, 3), None, None, *inputs)


@pytest.mark.parametrize(('batch', 'length', 'd'), [(0, 4, 3), (1, 0, 3), (1, 4, 0)])
def test_empty_sizes_give_zeros(batch, length, d):
    scan, backward = torch.ops.tinyvim_mm_triton.scan, torch.ops.tinyvim_mm_triton.scan_backward
    x, step = torch.ones(batch, 1, length, d), torch.ones(batch, 2, length, d)
    BC, A = torch.ones(batch, 2, length, 2), torch.ones(2, 2, d)
    inputs = (x, step, None, BC, BC, A, None, None, None, [], 0, True)
    states, kept = (batch, 2, 2, d), (batch, 2, -(-length // 16), 2, d)
    gradients = (x, (2, batch, length, d), BC, BC, A, (2, d), (2, d))
    for results, shapes in (
        (scan(*inputs, True, True), (x, states, kept)),
        (backward(x, None, None, *inputs), gradients),
    ):
        for result, shape in zip(results, shapes, strict=True):
            assert torch.equal(result, torch.zeros(getattr(shape, 'shape', shape)))


# ----------------------------------------------------------------------------
# Availability
# ----------------------------------------------------------------------------


def test_importing_the_operators_does_not_import_triton():
    code = 'import tinyvim_mm.ops, sys; print("triton" in sys.modules)'
    assert run_python(code) == 'False'


def test_obstacles_name_the_cure(monkeypatch):
    cpu, cuda = torch.device('cpu'), torch.device('cuda')
    assert 'computes on CUDA devices' in str(
        triton_support.obstacle(torch.device('mps'), torch.float32)
    )
    assert "choose 'parallel'" in triton_support.obstacle(cuda, torch.float64).cure
    monkeypatch.setattr(triton_support, '_is_installed', lambda: False)
    assert triton_support.obstacle(cuda, torch.float32).cure == 'pip install triton'
    monkeypatch.setattr(triton_support, '_is_installed', lambda: True)
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    assert 'set TRITON_INTERPRET=1 before' in triton_support.obstacle(cpu, torch.float32).cure


def test_missing_tools_for_the_launcher_are_named(monkeypatch):

    def launch_obstacle(device):
        return str(triton_support._launch_obstacle.__wrapped__(device))

    monkeypatch.setattr(triton_support.shutil, 'which', lambda name: None)
    monkeypatch.delenv('CC', raising=False)
    assert 'finds none: install one' in launch_obstacle(torch.device('cuda'))
    monkeypatch.setenv('CC', 'gcc')
    monkeypatch.setattr(triton_support.sysconfig, 'get_paths', lambda: {'include': '/nowhere'})
    assert '/nowhere/Python.h is missing' in launch_obstacle(torch.device('cuda'))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (6, 1))
    assert 'cuda has 6.1' in launch_obstacle(torch.device('cuda'))


@needs_interpreter
def test_on_a_gpu_the_interpreter_is_an_obstacle():
    obstacle = triton_support.obstacle(torch.device('cuda'), torch.float32)
    assert obstacle.cure.startswith('unset that variable')


@needs_triton
@pytest.mark.parametrize('early', ['triton', 'tinyvim_mm.ops.backends.triton_kernels'])
def test_choosing_the_interpreter_too_late_is_said(early):
    code = (
        f'import os, torch, {early}; from tinyvim_mm.ops.backends import triton_support; '
        'os.environ["TRITON_INTERPRET"] = "1"; '
        'print(triton_support.obstacle(torch.device("cpu"), torch.float32))'
    )
    assert 'start' in run_python(code, TRITON_INTERPRET=None)


def test_automatic_choice_takes_triton_on_gpus_only(monkeypatch):
    for name in ('cuda', 'cpu'):
        unavailable = Backend(name, obstacle=lambda device, dtype: Obstacle('not built'))
        monkeypatch.setitem(BACKENDS, name, unavailable)
    works = Backend('triton')
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
from tinyvim_mm.ops.backends import triton_backward, triton_kernels

INTEGERS = set(triton_backward.GRADIENT_INTEGERS)
FLOATS = {'table': '*i32'}
MIXED = {**FLOATS, 'x': '*bf16', 'step': '*fp16', 'dy': '*fp16', 'x_b': 'i64', 'codes': 'i64'}
LARGE = {**FLOATS, 'x': '*fp16', 'dy': '*fp16', 'step_k': 'i64', 'BC_b': 'i64'}

def compiled(kernel, capability, types, absent, N, rank):
    constants = {
        'STATES': N, 'RANK': rank, 'SOFTPLUS': True, 'BLOCK_D': 16,
        'BLOCK_N': triton.next_power_of_2(N), 'BLOCK_R': triton.next_power_of_2(max(rank, 1)),
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
for kernel, optional in (
    (triton_kernels.scan_forward, ('last_state', 'checkpoints')),
    (triton_backward.scan_backward, ('dlast_state',)),
):
    for capability, types, absent, N, rank in (
        (75, FLOATS, (*optional, 'table'), 1, 6),
        (80, MIXED, ('D', 'bias', 'table', 'step_weight'), 3, 0),
        (90, LARGE, (), 8, 12),
    ):
        asm = compiled(kernel, capability, types, absent, N, rank)
        case = f'{kernel.__name__} for sm_{capability}'
        results[case] = ['cubin' in asm, 'lg2.approx' in asm['ptx']]
print(json.dumps(results))
"""


@pytest.mark.slow
@needs_triton
def test_kernels_compile_for_gpus(tmp_path):
    pytest.importorskip('triton', minversion='3.3')  # its compiler takes these arguments
    printed = run_python(COMPILE, TRITON_INTERPRET=None, TRITON_CACHE_DIR=str(tmp_path))
    for case, (has_machine_code, approximates_log) in json.loads(printed).items():
        assert has_machine_code, case
        # Its error is absolute: percents where softplus is small.
        assert not approximates_log, case
