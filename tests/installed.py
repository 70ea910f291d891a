"""Environments with this package as a clone or as a wheel, for tests of other tools' processes."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Dict

from tinyvim_mm.core.paths import PROJECT_ROOT

_FILES = ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'MANIFEST.in', 'model-index.yml')


def environment_with_package(folder: Path, kind: str) -> Path:
    """Make an environment that has the packages of this Python, and this package anew.

    Args:
        folder: Empty; for the environment and a copy of the project, as builds leave traces.
        kind: ``'clone'`` (``pip install -e``) or ``'wheel'``.

    Returns:
        Its Python.
    """
    source = folder / 'source'
    source.mkdir()
    for name in _FILES:
        shutil.copy(PROJECT_ROOT / name, source)
    ignored = shutil.ignore_patterns('__pycache__', '.mim', '*.so')
    for name in ('tinyvim_mm', 'configs', 'tools', 'kernels'):
        shutil.copytree(PROJECT_ROOT / name, source / name, ignore=ignored)
    step = {'clone': 'build_editable', 'wheel': 'build_wheel'}[kind]
    code = f'from setuptools import build_meta; build_meta.{step}({str(folder)!r})'
    finish([sys.executable, '-W', 'ignore', '-c', code], source, {'TINYVIM_EXTENSION': 'off'})
    environment = folder / 'environment'
    venv.create(environment)
    # Each folder is read after those of the environment, and its .pth files are not.
    others = {sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}
    python = environment / 'bin' / 'python'
    site = Path(finish([str(python), '-c', _SITE], folder).strip())
    (site / 'zz_packages.pth').write_text('\n'.join(sorted(others)) + '\n')
    with zipfile.ZipFile(next(folder.glob('*.whl'))) as wheel:
        wheel.extractall(site)
    return python


_SITE = 'import sysconfig; print(sysconfig.get_path("purelib"))'


def finish(command: list, folder: Path, variables: Dict[str, str] = {}) -> str:  # noqa: B006
    """What a process printed, both streams; an AssertionError with it if it failed."""
    kept = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    run = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**kept, 'OMP_NUM_THREADS': '1', 'MPLBACKEND': 'agg', **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, f'{" ".join(map(str, command))}:\n{run.stdout[-3000:]}'
    return run.stdout
