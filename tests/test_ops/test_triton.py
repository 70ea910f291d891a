"""Triton: when it can run, and that its kernels compile for GPUs without one.

What it computes is compared in ``test_conformance.py``.
"""

import json
import os
import subprocess
import sys

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
def test_too_many_paths_are_refused():
    arguments = ss2d_arguments(1, 1, K=32, batch=1)
    with pytest.raises(ValueError, match=r"at most 31 paths, got 32; .*'parallel'"):
        ss2d(*arguments, CROSS_SCAN * 8, backend='triton')


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
        unavailable = Backend(name, None, None, lambda device, dtype: Obstacle('not built'))
        monkeypatch.setitem(BACKENDS, name, unavailable)
    works = Backend('triton', None)
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


@pytest.mark.slow
@needs_triton
def test_kernels_compile_for_gpus(tmp_path):
    pytest.importorskip('triton', minversion='3.3')  # its compiler takes these arguments
    printed = run_python(COMPILE, TRITON_INTERPRET=None, TRITON_CACHE_DIR=str(tmp_path))
    for case, (has_machine_code, approximates_log) in json.loads(printed).items():
        assert has_machine_code, case
        # Its error is absolute: percents where softplus is small.
        assert not approximates_log, case
