"""Installs a family of OpenMMLab packages around a wheel of mmcv that works."""

import contextlib
import os
import sysconfig
import tempfile
import zipfile
from pathlib import Path
from typing import Dict, Iterator, Optional

from .common import CACHE, SetupError
from .machine import build_environment, check_compilers, check_nvcc
from .processes import ask
from .progress import Activity
from .setup import Setup
from .state import distribution
from .torch_build import torch_facts


def install_stack(setup: Setup, activity: Activity) -> Dict:
    """Install one family; its mmcv is a wheel kept, handed over, or built here."""
    facts = torch_facts(setup)
    store = CACHE / 'wheels' / mmcv_key(setup, facts)
    for find in (kept_wheel, handed_wheel, built_wheel):
        with scratch_folder() as scratch:
            wheel = find(setup, activity, store, scratch)
            if wheel is None:
                continue
            problem = try_wheel(setup, activity, wheel)
        if not problem:
            return {'wheel': wheel.name, 'from': find.__name__}
        wheel.unlink()
        activity.note(f'{wheel.name} does not work with torch {facts["version"]}: {problem}')
    raise SetupError(f'the mmcv built here does not work: {problem}\nSee {setup.log}')


def mmcv_key(setup: Setup, facts: Dict) -> str:
    """Name of the folder for one build: everything its binary depends on."""
    python = 'cp' + setup.version.replace('.', '')
    name, _, number = setup.pins.STACKS[setup.stack]['mmcv'].partition('==')
    parts = [name, number, f'torch{facts["version"]}', python, sysconfig.get_platform()]
    parts += [setup.device] + ([facts['capability']] if setup.device == 'cuda' else [])
    return '-'.join(part for part in parts if part)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder on the disk of the cache, so that a wheel can be moved there at once."""
    (CACHE / 'tmp').mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=str(CACHE / 'tmp')) as folder:
        yield Path(folder)


def kept_wheel(setup: Setup, activity: Activity, store: Path, scratch: Path) -> Optional[Path]:
    """The wheel that an earlier start built or was handed."""
    for wheel in store.glob('*.whl'):
        if zipfile.is_zipfile(str(wheel)):
            return wheel
        wheel.unlink()
    return None


def handed_wheel(setup: Setup, activity: Activity, store: Path, scratch: Path) -> Optional[Path]:
    """A wheel from the folder that the user named, if one fits."""
    folder = setup.options.mmcv_wheels
    if not folder:
        return None
    requirement = setup.pins.STACKS[setup.stack]['mmcv']
    command = [setup.python, '-m', 'pip', 'download', '--quiet', '--no-deps', '--no-index']
    command += ['--find-links', str(Path(folder).resolve()), '--only-binary', ':all:']
    status, _, error = ask([*command, '--dest', str(scratch), requirement])
    if status == 0:
        return keep_wheel(next(scratch.glob('*.whl')), store)
    with setup.log.open('a') as log:
        log.write(error)
    activity.note(f'no wheel of {requirement} in {folder} fits this Python: building it')
    return None


def built_wheel(setup: Setup, activity: Activity, store: Path, scratch: Path) -> Path:
    """Build the wheel from its source archive and keep it."""
    check_compilers(setup.ask_python('import sysconfig; print(sysconfig.get_path("include"))')[1])
    if setup.device == 'cuda':
        check_nvcc(torch_facts(setup)['cuda'])
    requirement = setup.pins.STACKS[setup.stack]['mmcv']
    activity.note(f'compiling mmcv; this takes minutes, once. Log: {setup.log}')
    activity.subject = 'mmcv operators'
    (scratch / 'tmp').mkdir()
    variables = {
        'TMPDIR': str(scratch / 'tmp'),
        'MMCV_WITH_OPS': '1',
        'FORCE_CUDA': '1' if setup.device == 'cuda' else '0',
        # Debug information, which Python's own flags ask for, doubles the time.
        'CFLAGS': (os.environ.get('CFLAGS', '') + ' -g0').strip(),
    }
    # No cache: pip keys a wheel on the source alone, not on the torch behind it.
    # No isolation: without torch in sight the build leaves the operators out.
    setup.pip(
        activity,
        *('wheel', '--verbose', '--no-deps', '--no-build-isolation', '--no-cache-dir'),
        *('--no-binary', distribution(requirement), '--wheel-dir', str(scratch), requirement),
        **dict(build_environment(setup.device), **variables),
    )
    return keep_wheel(next(scratch.glob('*.whl')), store)


def keep_wheel(wheel: Path, store: Path) -> Path:
    """Move a wheel into its folder in the cache, at once and whole."""
    store.mkdir(parents=True, exist_ok=True)
    os.replace(str(wheel), str(store / wheel.name))
    return store / wheel.name


def try_wheel(setup: Setup, activity: Activity, wheel: Path) -> str:
    """Install the family with this wheel of mmcv.

    Returns:
        Why mmcv's operators cannot be loaded; empty if they can.
    """
    mmcv = setup.pins.STACKS[setup.stack]['mmcv']
    others = [wanted for wanted in setup.pins.requirements(setup.stack) if wanted != mmcv]
    # pip leaves an installed one of the same version alone, however broken it is.
    setup.pip(activity, 'uninstall', '--yes', distribution(mmcv))
    # All in one command: piece by piece, later ones replace what earlier ones took.
    setup.pip(activity, 'install', *setup.constraints(), str(wheel), *others)
    ensure_opencv(setup, activity)
    worked, answer = setup.ask_python('import torch, mmcv._ext')
    return '' if worked else answer


def ensure_opencv(setup: Setup, activity: Activity) -> None:
    """Take OpenCV without a display where the usual one cannot be loaded.

    mmcv asks for ``opencv-python``, which needs a graphics library (libGL);
    servers and containers often have none. Both builds fill the same folder.
    """
    worked, answer = setup.ask_python('import cv2')
    if worked:
        return
    activity.note(f'OpenCV fails to import ({answer}): taking its build without a display')
    # opencv-python stays listed as installed, or the next pip would put it back.
    headless = 'opencv-python-headless'
    wanted = f'{headless}=={setup.installed()[headless]}'
    setup.pip(activity, 'install', '--force-reinstall', '--no-deps', wanted)
    worked, answer = setup.ask_python('import cv2')
    if not worked:
        raise SetupError(f'OpenCV cannot be used here: {answer}')
