"""Scripts of this folder, each run in a process with one form of mmcv's operators."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinyvim_mm.core import mmcv_operators

FOLDER = Path(__file__).parent
RECORDED = FOLDER / 'recorded'


def need_torchvision():
    """Skip where the stand-in cannot be."""
    pytest.importorskip('mmcv')
    problem = mmcv_operators.torchvision_problem()
    if problem is not None:
        pytest.skip(problem)


def need_compiled():
    """Skip where there are not both forms."""
    need_torchvision()
    if mmcv_operators.compiled_file() is None:
        pytest.skip('mmcv was installed without its compiled operators: nothing to compare with')


@functools.cache
def run(form, script, folder, *arguments):
    """Arrays that a script writes; ``folder`` is for its file."""
    target = Path(folder) / f'{script}_{form}_{"_".join(arguments)}.npz'
    path = os.pathsep.join([str(FOLDER.parents[1]), os.environ.get('PYTHONPATH', '')])
    environment = {**os.environ, mmcv_operators.VARIABLE: form, 'PYTHONPATH': path}
    command = [sys.executable, str(FOLDER / f'{script}.py'), str(target), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return arrays(target)


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def difference(actual, expected):
    """Largest absolute difference; infinite where shapes differ or something is not a number."""
    if actual.shape != expected.shape:
        return float('inf')
    largest = np.abs(actual.astype(np.float64) - expected).max(initial=0)
    return float('inf') if np.isnan(largest) else float(largest)
