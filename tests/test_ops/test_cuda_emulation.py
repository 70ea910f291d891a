"""The CUDA operators, run warp by warp on a CPU (tests/test_ops/emulation.cpp).

It tests everything that a launch does not decide: layout, indices, masks,
shuffles, chunks, slices of states, the order of sums. What is left for a GPU is
`make test-gpu`.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import golden
import pytest
import torch
from scan_cases import double_reference, scan_arguments, ss2d_arguments

from tinyvim_mm.ops import BIDIRECTIONAL, CROSS_SCAN, selective_scan, ss2d

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / 'kernels' / 'csrc'
LAUNCH = SOURCES / 'pytorch' / 'cuda' / 'scan_launch.cu'


@pytest.fixture(scope='module')
def emulated():
    """The operators of the emulation; compiled when their sources have changed."""
    from torch.utils import cpp_extension

    folder = ROOT / '.cache' / 'emulation' / torch.__version__
    folder.mkdir(parents=True, exist_ok=True)
    # ninja comes with the environment, which need not be active.
    scripts = str(Path(sys.executable).parent)
    os.environ['PATH'] = scripts + os.pathsep + os.environ['PATH']
    flags = ['-O1', '-g0', '-Wno-unknown-pragmas']
    with (folder / 'in_use').open('w') as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        # Left by a run that was killed: torch would wait for it for ever.
        (folder / 'lock').unlink(missing_ok=True)
        cpp_extension.load(
            'tinyvim_mm_emulated',
            [str(Path(__file__).with_name('emulation.cpp'))],
            extra_cflags=flags,
            build_directory=str(folder),
            is_python_module=False,
        )
    return torch.ops.tinyvim_mm_emulated


def check_ss2d(emulated, arguments, paths=CROSS_SCAN, limit=1e-5):
    codes = [path.code() for path in paths]
    y = emulated.ss2d(*arguments, codes)
    cotangent = torch.randn(y.shape)
    gradients = emulated.ss2d_backward(cotangent, *arguments, codes)
    expected, expected_gradients = double_reference(ss2d, arguments, cotangent, paths=paths)
    golden.assert_close('y', y, expected, limit)
    for i, (gradient, truth) in enumerate(zip(gradients, expected_gradients, strict=True)):
        golden.assert_close(f'gradient {i}', gradient, truth, limit)


@pytest.mark.parametrize('case', ['square', 'wide', 'long'])
def test_golden_operator(emulated, case):
    data = golden.load('ss2d_op_golden')
    names = ('x', 'x_proj_weight', 'dt_projs_weight', 'dt_projs_bias', 'A_logs', 'Ds')
    arguments = [data[f'{case}/{name}'] for name in names]
    y = emulated.ss2d(*arguments, [0, 1, 2, 3])
    golden.assert_close('y', y.permute(0, 2, 3, 1), data[f'{case}/y'], golden.FEATURE_LIMIT)
    cotangent = golden.golden_input(f'{case}-cot', y.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
    gradients = emulated.ss2d_backward(cotangent, *arguments, [0, 1, 2, 3])
    for name, gradient in zip(names, gradients, strict=True):
        golden.assert_close(name, gradient, data[f'{case}/grad_{name}'], golden.GRADIENT_LIMIT)


@pytest.mark.parametrize('N', [1, 3, 4, 8, 16, 20, 64])
def test_states_in_registers_and_in_slices(emulated, N):
    check_ss2d(emulated, ss2d_arguments(5, 4, N=N))


@pytest.mark.parametrize('R', [1, 4, 11, 24, 32, 33])
def test_ranks_inside_and_outside_the_kernel(emulated, R):
    check_ss2d(emulated, ss2d_arguments(4, 5, R=R))


@pytest.mark.parametrize('d', [1, 31, 32, 33, 70])
def test_tiles_of_channels(emulated, d):
    check_ss2d(emulated, ss2d_arguments(3, 4, d=d))


@pytest.mark.parametrize('multiprocessors', [1, 1000])
@pytest.mark.parametrize('size', [(1, 1), (8, 12), (8, 13), (16, 16), (21, 13)])
def test_whole_paths_and_chunks(emulated, size, multiprocessors):
    # Up to 96 positions are fused; from 256 on a large GPU takes chunks.
    emulated.set_multiprocessors(multiprocessors)
    check_ss2d(emulated, ss2d_arguments(*size, batch=1 if size[0] > 8 else 2))
    emulated.set_multiprocessors(1)


def test_other_paths(emulated):
    check_ss2d(emulated, ss2d_arguments(4, 6, K=2), paths=BIDIRECTIONAL)


@pytest.mark.parametrize('softplus', [False, True])
@pytest.mark.parametrize(('length', 'multiprocessors'), [(1, 1), (33, 1), (300, 1), (300, 1000)])
@pytest.mark.parametrize('options', [True, False])
def test_sequences(emulated, length, multiprocessors, options, softplus):
    emulated.set_multiprocessors(multiprocessors)
    a = scan_arguments(length, dim=6, groups=3)
    if not softplus:
        a['delta'], a['delta_bias'] = a['delta'].abs(), a['delta_bias'].abs()
    tensors = [a['u'], a['delta'], a['A'], a['B'], a['C'], a['D'], a['delta_bias']]
    if not options:
        tensors[5:] = [None, None]
    y, state = emulated.selective_scan(*tensors, softplus)
    grad_y, grad_state = torch.randn(y.shape), torch.randn(state.shape)
    gradients = emulated.selective_scan_backward(grad_y, grad_state, *tensors, softplus)
    emulated.set_multiprocessors(1)

    truth = [None if t is None else t.double().requires_grad_() for t in tensors]
    y64, state64 = selective_scan(
        *truth[:6], None, truth[6], softplus, return_last_state=True, backend='reference'
    )
    torch.autograd.backward([y64, state64], [grad_y.double(), grad_state.double()])
    golden.assert_close('y', y, y64, 1e-5)
    golden.assert_close('state', state, state64, 1e-5)
    for i, (gradient, tensor) in enumerate(zip(gradients, truth, strict=True)):
        if tensor is not None:
            golden.assert_close(f'gradient {i}', gradient, tensor.grad, 1e-5)


@pytest.mark.parametrize('architecture', ['sm_75', 'sm_80', 'sm_90'])
def test_nvcc_compiles_the_kernels(architecture, tmp_path):
    nvcc = shutil.which('nvcc') or os.path.join(os.environ.get('CUDA_HOME', ''), 'bin', 'nvcc')
    if not shutil.which(nvcc):
        pytest.skip('there is no nvcc on this machine')
    command = [nvcc, '-c', f'-arch={architecture}', '-std=c++17', '-O3', '--resource-usage']
    run = subprocess.run(
        [*command, str(LAUNCH), '-o', str(tmp_path / 'kernels.o')], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    registers = [int(word) for word in _between(run.stderr, 'Used ', ' registers')]
    assert registers
    assert max(registers) <= 255
    spilled = [int(count) for count in _between(run.stderr, 'frame, ', ' bytes spill stores')]
    assert max(spilled) <= 16, 'states must stay in registers'


def _between(text, before, after):
    return [part.split(after)[0] for part in text.split(before)[1:] if after in part]
