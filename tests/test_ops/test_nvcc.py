"""What of the CUDA kernels can be told without a GPU but not by running them on a CPU."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / 'kernels' / 'csrc' / 'pytorch' / 'cuda'


@pytest.mark.slow
@pytest.mark.parametrize('architecture', ['75', '80', '90', '100', '120'])
def test_nvcc_compiles_the_kernels(architecture, tmp_path):
    nvcc = shutil.which('nvcc') or os.path.join(os.environ.get('CUDA_HOME', ''), 'bin', 'nvcc')
    if not shutil.which(nvcc):
        pytest.skip('there is no nvcc on this machine')
    listed = subprocess.run([nvcc, '--list-gpu-arch'], capture_output=True, text=True).stdout
    if f'compute_{architecture}' not in listed.split():
        pytest.skip(f'this nvcc does not compile for sm_{architecture}')
    command = [nvcc, '-c', f'-arch=sm_{architecture}', '-std=c++17', '-O3', '--resource-usage']
    run = subprocess.run(
        [*command, str(SOURCES / 'scan_float.cu'), '-o', str(tmp_path / 'kernels.o')],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    registers = [int(word) for word in _between(run.stderr, 'Used ', ' registers')]
    assert registers
    assert max(registers) <= 255
    spilled = [int(count) for count in _between(run.stderr, 'frame, ', ' bytes spill stores')]
    # A few values around the loops; states and their gradients would be thousands of bytes.
    assert max(spilled) <= 128, 'states must stay in registers'


def _between(text, before, after):
    return [part.split(after)[0] for part in text.split(before)[1:] if after in part]
