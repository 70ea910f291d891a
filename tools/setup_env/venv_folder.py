"""Makes the folder ``.venv`` itself, with a Python and pip and nothing else."""

import contextlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Optional

from .common import CACHE, STAMPS, VENV, SetupError
from .interpreter import (
    SUPPORTED_PYTHONS,
    THIS_PYTHON,
    base_python,
    dotted,
    python_name,
    python_version,
)
from .processes import ask
from .progress import Activity
from .setup import Setup
from .state import distribution

MINIMUM_PIP = (22, 2)  # knows --dry-run
INCOMPLETE = CACHE / 'venv-incomplete'  # is there while .venv is half made


def prepare_venv(setup: Setup) -> None:
    """Make ``.venv`` anew, or take an empty one that the user made."""
    ours = STAMPS.exists() or INCOMPLETE.exists()
    if not ours and os.path.lexists(str(VENV)) and not is_empty(VENV):
        version = adoptable_version(setup)
        if version:
            print(f'using the empty environment {VENV}')
            setup.write_venv_stamp(version)
            ensure_pip(setup)
            return
        set_aside(VENV)
    elif VENV.exists():
        print(f'{VENV} is incomplete or not what is wanted: making it anew')
    make_venv(setup)


def adoptable_version(setup: Setup) -> Optional[str]:
    """Python version of a ``.venv`` that is not ours, if it is sound and still empty."""
    version = python_version(setup.python)
    if version not in SUPPORTED_PYTHONS:
        return None
    name = dotted(version)
    if not setup.python_works(name) or ask([setup.python, '-m', 'pip', '--version'])[0] != 0:
        return None
    ours = {'torch', 'torchvision'}
    for stack in setup.pins.STACKS.values():
        ours.update(map(distribution, stack.values()))
    return None if ours & set(setup.installed(name)) else name


def is_empty(folder: Path) -> bool:
    """Whether this is a folder with nothing in it."""
    return folder.is_dir() and not any(folder.iterdir())


def set_aside(folder: Path) -> None:
    """Move something away that this script did not make: it may be dear to somebody."""
    target = CACHE / 'replaced' / time.strftime('venv-%Y%m%d-%H%M%S')
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(str(folder), str(target))
    print(f'{folder} was not made by this script and is broken or in use: moved to {target}')


def make_venv(setup: Setup) -> None:
    """Make ``.venv``, in place of what may be there."""
    python = base_python()
    if ask([python, '-c', 'import venv, ensurepip'])[0] != 0:
        raise SetupError(
            f'{python} cannot make virtual environments. On Debian and Ubuntu: '
            f'sudo apt-get install python3-venv (or {python_name(THIS_PYTHON)}-venv)'
        )
    INCOMPLETE.touch()
    if VENV.exists() and not VENV.is_symlink():
        # To move it away is done at once; to delete it may take minutes.
        grave = CACHE / 'tmp' / f'venv-{os.getpid()}'
        grave.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # a mount point, as containers have, stays
            os.rename(str(VENV), str(grave))
            discard(grave)
    shutil.rmtree(str(STAMPS), ignore_errors=True)  # first, if the folder had to stay
    setup.start_log('venv')
    version = dotted(THIS_PYTHON)
    activity = Activity(f'virtual environment .venv, Python {version}')
    # Through a link, as it may lead to another disk: venv refuses the link itself.
    setup.call(activity, [python, '-m', 'venv', '--clear', os.path.realpath(str(VENV))])
    ensure_pip(setup, activity)
    INCOMPLETE.unlink()  # before the stamp: a forgotten one would claim any .venv as ours
    setup.write_venv_stamp(version)
    activity.finish()


def ensure_pip(setup: Setup, activity: Optional[Activity] = None) -> None:
    """Bring an old pip to a version that can be asked without installing."""
    _, output, _ = ask([setup.python, '-m', 'pip', '--version'])
    found = re.match(r'pip (\d+)\.(\d+)', output)
    if not found or (int(found.group(1)), int(found.group(2))) < MINIMUM_PIP:
        activity = activity or Activity('newer pip')
        setup.pip(activity, 'install', '--upgrade', 'pip>={}.{}'.format(*MINIMUM_PIP))


def discard(*paths: Path) -> None:
    """Delete in the background what nobody looks at any more."""
    if paths:
        subprocess.Popen(
            ['rm', '-rf', *map(str, paths)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def forget_half_installed(setup: Setup) -> None:
    """Remove what a killed pip left, which a later pip would take for installed.

    pip writes a distribution's ``RECORD`` last.
    """
    packages = setup.packages()
    for folder in (*packages.glob('*.dist-info'), *packages.glob('~*')):
        record = folder / 'RECORD'
        if folder.name.startswith('~') or not record.exists() or not record.stat().st_size:
            shutil.rmtree(str(folder), ignore_errors=True)
