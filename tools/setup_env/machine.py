"""What this machine has: a GPU, CUDA, compilers, room on the disk."""

import os
import re
import shutil
from pathlib import Path
from typing import Dict, Optional

from .common import ROOT, VENV, SetupError
from .processes import ask

WANTED_DISK = {'cpu': 6, 'cuda': 15}  # GB
MEMORY_PER_JOB = 1.5e9  # bytes that one compiler process of mmcv may take


def has_gpu() -> bool:
    """Whether nvidia-smi runs and lists a GPU."""
    status, output, _ = ask(['nvidia-smi', '-L'], timeout=60)
    return status == 0 and 'GPU ' in output


def driver_cuda() -> Optional[int]:
    """Major version of CUDA that the driver supports, ``None`` if it does not say."""
    _, output, _ = ask(['nvidia-smi'], timeout=60)
    found = re.search(r'CUDA (?:\w+ )?Version\s*:\s*(\d+)\.\d+', output)
    return int(found.group(1)) if found else None


def find_cuda_home() -> Optional[Path]:
    """The CUDA toolkit, searched where torch's build tools search it.

    They take ``nvcc`` on the PATH for the toolkit's own; it may be a wrapper
    that stands elsewhere, so a toolkit must have its headers too.
    """
    named = [os.environ.get(name) for name in ('CUDA_HOME', 'CUDA_PATH')]
    homes = [Path(home) for home in named if home]
    nvcc = shutil.which('nvcc')
    if nvcc:
        homes += [Path(nvcc).parent.parent, Path(nvcc).resolve().parent.parent]
    homes.append(Path('/usr/local/cuda'))
    for home in homes:
        if (home / 'bin' / 'nvcc').exists() and (home / 'include' / 'cuda_runtime.h').exists():
            return home
    return None


def build_jobs() -> str:
    """How many compilers to run at once: as many as cores and memory allow."""
    if os.environ.get('MAX_JOBS'):
        return os.environ['MAX_JOBS']
    affinity = getattr(os, 'sched_getaffinity', None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return str(max(1, min(cores, int(memory / MEMORY_PER_JOB))))


def warn_of_little_disk(device: str) -> None:
    """Say so if the disk is likely to become full."""
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    wanted = WANTED_DISK[device]
    if free < wanted:
        print(f'warning: {free:.1f} GB free in {ROOT}; a {device} set-up wants {wanted} GB')


def build_environment(device: str) -> Dict[str, str]:
    """Variables that torch's build tools read."""
    variables = {
        'PATH': str(VENV / 'bin') + os.pathsep + os.environ.get('PATH', ''),  # ninja is there
        'MAX_JOBS': build_jobs(),
        'NINJA_STATUS': '[%f/%t] ',
    }
    if device == 'cpu':
        # The user may have wanted no CUDA beside a CUDA build of torch and a GPU.
        variables.update(FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
        return variables
    home = find_cuda_home()
    if home:
        variables['CUDA_HOME'] = str(home)
    return variables


def check_compilers(include: str) -> None:
    """Raise, before minutes are spent, if something is missing to compile with.

    Args:
        include: The folder where Python's headers should be.
    """
    compiler = os.environ.get('CXX') or 'g++'
    missing = []
    if not any(map(shutil.which, (compiler.split()[0], 'c++'))):
        missing.append(f'a C++ compiler ({compiler})')
    if not Path(include, 'Python.h').exists():
        missing.append(f"Python's headers ({include}/Python.h)")
    if missing:
        raise SetupError(
            f'mmcv must be compiled, and this is missing: {", ".join(missing)}.\n'
            'On Debian and Ubuntu: sudo apt-get install build-essential python3-dev'
        )


def check_nvcc(cuda: str) -> None:
    """Raise unless there is a CUDA compiler of torch's major version."""
    home = find_cuda_home()
    _, output, _ = ask([str(home / 'bin' / 'nvcc'), '--version']) if home else (1, '', '')
    found = re.search(r'release (\d+)\.(\d+)', output)
    if found and found.group(1) == cuda.split('.')[0]:
        return
    problem = 'no nvcc is here'
    if found:
        problem = f'{home} is of CUDA {found.group(1)}.{found.group(2)}'
    raise SetupError(
        f'mmcv must be compiled for CUDA {cuda}, the version of this torch, but {problem}.\n'
        f'Install the CUDA toolkit {cuda} (and set CUDA_HOME if it is in an unusual place), '
        'or set up without the GPU: make DEVICE=cpu demo'
    )
