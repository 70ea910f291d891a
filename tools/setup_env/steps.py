"""All steps of a set-up, in order."""

import contextlib
import os
import shutil
import time
from typing import Dict, Iterator

from .common import LOGS, ROOT, VENV, SetupError, run
from .interpreter import VENV_PYTHON, base_python, python_version, supported
from .mmcv import (
    build_variables,
    compile_wheel,
    handed_wheel,
    kept_folder,
    kept_wheel,
)
from .torch_pair import install_pair
from .uv import Uv
from .wanted import (
    STAMPS,
    Wanted,
    ask_venv,
    distribution,
    installed,
    pinned_versions,
    site_packages,
)

WANTED_DISK = 7  # GB
# Of an environment that nobody has used yet.
EMPTY = {'pip', 'setuptools', 'wheel'}
# A wheel does not say for which torch it was compiled, and may load beside another one.
CHECK = """
import torch, mmcv._ext
from mmcv.ops import nms, roi_align
box = torch.tensor([[0., 0., 4., 4.]])
assert nms(box, torch.ones(1), 0.5)[1].tolist() == [0]
picture = torch.ones(1, 1, 8, 8, requires_grad=True)
roi_align(picture, torch.tensor([[0., 0., 0., 4., 4.]]), (2, 2)).sum().backward()
assert abs(picture.grad.sum().item() - 4) < 1e-4, picture.grad
"""


def do_all(wanted: Wanted) -> None:
    """Do everything that is not done yet."""
    LOGS.mkdir(parents=True, exist_ok=True)
    uv = Uv()
    if not wanted.venv_is_sound():
        free = shutil.disk_usage(str(ROOT)).free / 1e9
        if free < WANTED_DISK:
            print(f'warning: {free:.1f} GB free in {ROOT}; a set-up wants {WANTED_DISK} GB')
        make_venv(wanted, uv)
    forget_half_installed()
    if not wanted.is_installed():
        wanted.keep(packages='', project='')
        with step(f'{wanted.torch} and torchvision'):
            facts = install_pair(wanted, uv)
        with step('mmcv, the toolboxes and the tools for tests'):
            form = install_packages(wanted, uv, facts)
        pinned = (wanted.torch, wanted.mmcv_requirement, *wanted.requirements())
        versions = pinned_versions(pinned)
        wanted.keep(packages=wanted.packages_key(), mmcv=form, versions=versions)
    with step('tinyvim_mm, editable, with its compiled operators'):
        install_project(wanted, uv)
    wanted.keep(project=wanted.project_key())


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Say what begins, and what it took."""
    print(f'{title} ...', flush=True)
    started = time.monotonic()
    yield
    print(f'  done in {time.monotonic() - started:.0f} s', flush=True)


def make_venv(wanted: Wanted, uv: Uv) -> None:
    """Make ``.venv``, in place of what may be there."""
    # Only a Python that somebody named replaces another version.
    kept = supported(python_version(VENV_PYTHON))
    base = ask_venv('import sys; print(sys._base_executable)')[1][-1] if kept else base_python()
    python = wanted.options.python or base
    ours = STAMPS.exists() or set(installed()) <= EMPTY
    if os.path.lexists(str(VENV)) and not ours:
        raise SetupError(f'{VENV} was not made by this script and is in use: move it away')
    with step('virtual environment .venv'):
        # Through a link, as it may lead to another disk.
        target = os.path.realpath(str(VENV))
        command = uv.command('venv', '--clear', '--python', python, '--prompt', ROOT.name, target)
        run('the virtual environment', command, uv.variables)
    wanted.state.clear()
    wanted.keep(venv=wanted.venv_key())


def forget_half_installed() -> None:
    """Remove what a killed uv left, which a later one would take for installed.

    uv and pip write a distribution's ``INSTALLER`` and ``RECORD`` last.
    """
    for folder in site_packages().glob('*.dist-info'):
        if not all((folder / name).exists() for name in ('INSTALLER', 'RECORD')):
            shutil.rmtree(str(folder), ignore_errors=True)


def install_packages(wanted: Wanted, uv: Uv, facts: Dict[str, str]) -> str:
    """Install one family around an mmcv that works, and the tools of builds and tests.

    Returns:
        Which operators mmcv has: ``compiled`` or ``torchvision``.
    """
    wheel = handed_wheel(wanted)
    if wheel:
        problem = install_stack(wanted, uv, str(wheel))
        if not problem:
            return 'compiled'
        print(f'  {wheel.name} does not work with torch {facts["version"]}: {problem}', flush=True)
    elif wanted.mmcv_wheels:
        print(f'  no wheel of {wanted.mmcv_requirement} for this Python is in {wanted.mmcv_wheels}')
    if wanted.mmcv == 'torchvision':
        if facts['torchvision']:
            raise SetupError(
                f"torchvision's operators do not work beside torch {facts['version']} "
                f'({facts["torchvision"]}), and mmcv is to stand on them. What helps:\n'
                f'  make TORCH={wanted.pins.TORCH.partition("==")[2]} demo   # the default\n'
                '  make MMCV=compiled demo   # takes 7 to 10 minutes on 2 cores'
            )
        install_stack(wanted, uv, wanted.mmcv_requirement)
        return 'torchvision'
    folder = kept_folder(wanted, facts)
    wheel = kept_wheel(folder) or compile_wheel(wanted, uv, folder)
    problem = install_stack(wanted, uv, str(wheel))
    if problem:
        wheel.unlink()
        raise SetupError(
            f'the mmcv compiled here does not work: {problem}\nSee {LOGS / "mmcv.log"}'
        )
    return 'compiled'


def install_stack(wanted: Wanted, uv: Uv, mmcv: str) -> str:
    """Install all packages, with this mmcv.

    Returns:
        Why mmcv's own operators cannot be loaded; empty if they can.
    """
    name = distribution(wanted.mmcv_requirement)
    pip = ['pip', 'install', '--python', VENV_PYTHON]
    # An installed one of the same version would stay, with or without operators.
    if name in installed():
        removal = uv.command('pip', 'uninstall', '--python', VENV_PYTHON, name)
        run('the removal of mmcv', removal, uv.variables)
    # All in one command: piece by piece, later ones replace what earlier ones took. In
    # isolation mmcv does not see torch and compiles nothing.
    command = uv.command(*pip, wanted.torch, wanted.torchvision, mmcv, *wanted.requirements())
    run('the installation', command, dict(uv.variables, MMCV_WITH_OPS='0'))
    # mmcv asks for opencv-python, which needs a graphics library (libGL) that servers lack.
    # Both builds fill the same folder; the other one stays listed, or pip would put it back.
    headless = f'opencv-python-headless=={installed()["opencv-python-headless"]}'
    flags = ['--no-deps', '--reinstall-package', 'opencv-python-headless']
    run('the installation of OpenCV', uv.command(*pip, *flags, headless), uv.variables)
    worked, answer = ask_venv('import cv2, mmcv')
    if not worked:
        raise SetupError(f'mmcv or OpenCV cannot be used here: {answer[-1]}')
    worked, answer = ask_venv(CHECK)
    return '' if worked else answer[-1]


def install_project(wanted: Wanted, uv: Uv) -> None:
    """Install this project so that changed sources count at once; compiles its operators."""
    log = LOGS / 'package.log'
    # Not isolated: the build must see torch, and needs no network.
    flags = ['--verbose', '--offline', '--no-deps', '--no-build-isolation']
    command = [uv.path, 'pip', 'install', '--python', VENV_PYTHON, *flags]
    command += ['--reinstall-package', 'tinyvim_mm', '--editable', '.']
    variables = dict(uv.variables, **build_variables(wanted.device))
    run('the installation of this project', command, variables, log)
    if not any((ROOT / 'tinyvim_mm').glob('_C*.so')):
        print(
            '  without its compiled operators: the scan runs in plain PyTorch, which is slower. '
            f'See {log}'
        )
