"""mmcv without its operators, with compiled ones, or from a ready wheel."""

import os
import shutil
import sysconfig
import tempfile
import zipfile
from pathlib import Path
from typing import Dict, Optional

from .common import CACHE, LOGS, SetupError, run
from .interpreter import VENV_PYTHON
from .uv import Uv
from .wanted import Wanted, ask_venv, distribution

MEMORY_PER_JOB = 1.5e9  # bytes that one compiler process may take


def kept_folder(wanted: Wanted, facts: Dict[str, str]) -> Path:
    """Folder of one compiled build: named by everything that its binary depends on."""
    tag = ask_venv('import sys; print("cp%d%d" % sys.version_info[:2])')[1][-1]
    name, _, number = wanted.mmcv_requirement.partition('==')
    parts = [name, number, f'torch{facts["version"]}', tag, sysconfig.get_platform()]
    parts += [wanted.device] + ([facts['capability']] if wanted.device == 'cuda' else [])
    return CACHE / 'wheels' / '-'.join(part for part in parts if part)


def handed_wheel(wanted: Wanted) -> Optional[Path]:
    """The wheel for this Python from the folder that the user named; torch is not compared."""
    if not wanted.mmcv_wheels:
        return None
    name, _, number = wanted.mmcv_requirement.partition('==')
    tag = ask_venv('import sys; print("cp%d%d" % sys.version_info[:2])')[1][-1]
    pattern = f'{name.replace("-", "_")}-{number}-{tag}-*_{os.uname().machine}.whl'
    return next(iter(sorted(Path(wanted.mmcv_wheels).glob(pattern))), None)


def kept_wheel(folder: Path) -> Optional[Path]:
    """The wheel that an earlier start compiled."""
    return next((wheel for wheel in folder.glob('*.whl') if zipfile.is_zipfile(str(wheel))), None)


def compile_wheel(wanted: Wanted, uv: Uv, folder: Path) -> Path:
    """Compile mmcv with its operators, and keep the wheel."""
    tools = [*wanted.pins.BUILD_REQUIREMENTS, 'pip', wanted.torch]
    run('the build tools', uv.command('pip', 'install', '-p', VENV_PYTHON, *tools), uv.variables)
    check_compilers()
    log = LOGS / 'mmcv.log'
    print(f'  compiling mmcv: 7 to 10 minutes on 2 cores, once. Log: {log}', flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=str(folder)) as scratch:
        # No cache: pip keys a wheel on the source alone, not on the torch behind it.
        # No isolation: without torch in sight the build leaves the operators out.
        command = [VENV_PYTHON, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation']
        command += ['--no-cache-dir', '--no-binary', distribution(wanted.mmcv_requirement)]
        command += ['--verbose', '--wheel-dir', scratch, wanted.mmcv_requirement]
        variables = dict(
            build_variables(wanted.device),
            TMPDIR=scratch,
            MMCV_WITH_OPS='1',
            FORCE_CUDA='1' if wanted.device == 'cuda' else '0',
            # Debug information, which Python's own flags ask for, doubles the time.
            CFLAGS=(os.environ.get('CFLAGS', '') + ' -g0').strip(),
        )
        run('the compilation of mmcv', command, variables, log)
        wheel = next(Path(scratch).glob('*.whl'))
        os.replace(str(wheel), str(folder / wheel.name))
    return folder / wheel.name


def build_variables(device: str) -> Dict[str, str]:
    """What torch's build tools read."""
    path = os.path.dirname(VENV_PYTHON) + os.pathsep + os.environ.get('PATH', '')  # ninja
    variables = {'PATH': path, 'MAX_JOBS': build_jobs()}
    if device == 'cpu':
        # The user may have wanted no CUDA beside a CUDA build of torch and a GPU.
        return dict(variables, FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
    home = find_cuda_home()
    return dict(variables, CUDA_HOME=str(home)) if home else variables


def build_jobs() -> str:
    """How many compilers to run at once: as many as cores and memory allow."""
    affinity = getattr(os, 'sched_getaffinity', None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return os.environ.get('MAX_JOBS') or str(max(1, min(cores, int(memory / MEMORY_PER_JOB))))


def find_cuda_home() -> Optional[Path]:
    """The CUDA toolkit, searched where torch's build tools search it.

    They take ``nvcc`` on the PATH for the toolkit's own; it may be a wrapper
    that stands elsewhere, so a toolkit must have its headers too.
    """
    homes = [Path(os.environ[name]) for name in ('CUDA_HOME', 'CUDA_PATH') if os.environ.get(name)]
    nvcc = shutil.which('nvcc')
    if nvcc:
        homes += [Path(nvcc).parent.parent, Path(nvcc).resolve().parent.parent]
    for home in (*homes, Path('/usr/local/cuda')):
        if (home / 'bin' / 'nvcc').exists() and (home / 'include' / 'cuda_runtime.h').exists():
            return home
    return None


def check_compilers() -> None:
    """Raise, before minutes are spent, if something is missing to compile with."""
    include = ask_venv('import sysconfig; print(sysconfig.get_path("include"))')[1][-1]
    compiler = os.environ.get('CXX') or 'g++'
    missing = []
    if not any(map(shutil.which, (compiler.split()[0], 'c++'))):
        missing.append(f'a C++ compiler ({compiler})')
    if not Path(include, 'Python.h').exists():
        missing.append(f"Python's headers ({include}/Python.h)")
    if missing:
        raise SetupError(
            f'mmcv is to be compiled, and this is missing: {", ".join(missing)}.\n'
            'On Debian and Ubuntu: sudo apt-get install build-essential python3-dev'
        )
