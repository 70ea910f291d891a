"""What is wanted, and what of it is there."""

import argparse
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Dict, Iterable, List, Tuple

from .common import ROOT, VENV, ask
from .interpreter import VENV_PYTHON, dotted, python_version

STAMPS = VENV / '.tinyvim'
STATE = STAMPS / 'state.json'
KERNEL_SUFFIXES = ('.py', '.h', '.hpp', '.cuh', '.c', '.cpp', '.cu')


class Wanted:
    """What is wanted, by the command line, by what was wanted last, and by default.

    An option that was not given keeps what is there: ``make test`` after
    ``make env DEVICE=cuda STACK=openmmlab`` must not rebuild everything.

    Args:
        options: The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.pins = load_pins()
        self.state = read_state()
        last = self.state.get('wanted', {})
        self.device = options.device or last.get('device') or 'auto'
        if self.device == 'auto':
            self.device = 'cuda' if has_gpu() else 'cpu'
        self.stack = options.stack or last.get('stack') or self.pins.DEFAULT_STACK
        if last.get('stack') != self.stack:
            last = {}  # each family has its own torch
        self.torch, self.torchvision = self.pins.STACK_TORCH[self.stack]
        version = options.torch or last.get('torch') or self.torch.partition('==')[2]
        if f'torch=={version}' != self.torch:
            # The metadata of torchvision say which torch it fits.
            self.torch, self.torchvision = f'torch=={version}', 'torchvision'
        self.mmcv = options.mmcv or last.get('mmcv') or self.pins.STACK_MMCV[self.stack]
        # Who asks for a form alone wants no longer the wheels that were handed over before.
        kept = '' if options.mmcv else last.get('mmcv_wheels', '')
        self.mmcv_wheels = options.mmcv_wheels or kept
        self.record = {
            'device': self.device,
            'stack': self.stack,
            'torch': version,
            'mmcv': self.mmcv,
            'mmcv_wheels': self.mmcv_wheels,
        }

    def describe(self) -> str:
        """One line about the environment."""
        version = dotted(python_version(VENV_PYTHON) or (0, 0))
        form = {'compiled': 'compiled mmcv', 'torchvision': "mmcv on torchvision's operators"}
        mmcv = form[self.state.get('mmcv') or self.mmcv]
        return f'{VENV} (Python {version}, {self.device}, {self.torch}, {self.stack}, {mmcv})'

    def venv_key(self) -> str:
        """Hash of what cannot be changed in place, the folder's own path included."""
        return digest(str(VENV), self.device, self.stack, self.torch)

    def packages_key(self) -> str:
        """Hash of all packages but this project."""
        return digest(self.venv_key(), self.mmcv, self.mmcv_wheels, *self.requirements())

    def project_key(self) -> str:
        """Hash of what an editable installation depends on, the files that it compiles too."""
        sources = [ROOT / name for name in ('setup.py', 'pyproject.toml')]
        sources += [ROOT / 'tinyvim_mm' / name for name in ('core/environment.py', 'version.py')]
        # Not all files: __pycache__ changes by itself.
        kernels = (ROOT / 'kernels').rglob('*')
        sources += [path for path in kernels if path.suffix in KERNEL_SUFFIXES]
        contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(sources)]
        return digest(self.packages_key(), *contents)

    def requirements(self) -> Tuple[str, ...]:
        """All distributions but torch, torchvision and mmcv."""
        pins = self.pins
        stack = [each for each in pins.requirements(self.stack) if each != self.mmcv_requirement]
        return (*stack, *pins.BUILD_REQUIREMENTS, *pins.TEST_REQUIREMENTS, 'pip')

    @property
    def mmcv_requirement(self) -> str:
        """The pinned distribution of mmcv."""
        return self.pins.STACKS[self.stack]['mmcv']

    # -- what is there ------------------------------------------------------

    def venv_is_sound(self) -> bool:
        """Whether the environment itself, whatever is installed, is the one wanted."""
        if self.state.get('venv') != self.venv_key() or not os.path.exists(VENV_PYTHON):
            return False
        named = self.options.python
        return not named or python_version(named) == python_version(VENV_PYTHON)

    def is_installed(self) -> bool:
        """Whether all packages are there, none changed or removed by hand."""
        present, recorded = installed(), self.state.get('versions', {})
        return self.state.get('packages') == self.packages_key() and all(
            present.get(name) == version for name, version in recorded.items()
        )

    def is_complete(self) -> bool:
        """Whether nothing is to be done."""
        project = self.state.get('project') == self.project_key() and 'tinyvim-mm' in installed()
        return self.venv_is_sound() and self.is_installed() and project

    def keep(self, **facts: object) -> None:
        """Add to the record of what is done, at once and whole."""
        self.state.update(facts, wanted=self.record)
        STAMPS.mkdir(exist_ok=True)
        draft = STATE.with_suffix('.new')
        draft.write_text(json.dumps(self.state, indent=1), encoding='utf-8')
        os.replace(str(draft), str(STATE))


def read_state() -> Dict:
    """The record of what is done, empty if it is missing or broken."""
    try:
        return dict(json.loads(STATE.read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError):
        return {}


def site_packages() -> Path:
    """Where packages are installed."""
    return next(iter(VENV.glob('lib/python3.*/site-packages')), VENV / 'missing')


def installed() -> Dict[str, str]:
    """Versions of what is installed, read from folder names alone: it is fast."""
    found = {}
    for folder in site_packages().glob('*.dist-info'):
        name, _, version = folder.name[: -len('.dist-info')].partition('-')
        found[distribution(name)] = version
    return found


def pinned_versions(requirements: Iterable[str]) -> Dict[str, str]:
    """What is installed of those requirements that name one version."""
    present = installed()
    names = [distribution(each) for each in requirements if '==' in each.partition(';')[0]]
    return {name: present.get(name, '') for name in names}


def distribution(requirement: str) -> str:
    """``'Import_Linter>=2,<81'`` to ``'import-linter'``, as package indexes compare names."""
    name = re.split(r'[<>=!~\[; ]', requirement, maxsplit=1)[0]
    return re.sub(r'[-_.]+', '-', name).lower()


def digest(*parts: str) -> str:
    """Short hash of some strings."""
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()[:16]


def has_gpu() -> bool:
    """Whether nvidia-smi runs and lists a GPU."""
    listed, output, _ = ask(['nvidia-smi', '-L'], timeout=60)
    return listed and 'GPU ' in output


def ask_venv(code: str) -> Tuple[bool, List[str]]:
    """Run some code in the environment; return whether it worked and the lines it said."""
    # Nothing that this package mends in others may hide what is really there.
    worked, output, error = ask([VENV_PYTHON, '-I', '-c', code], {'TINYVIM_MM_STARTUP': '0'})
    return worked, (output if worked else error).strip().splitlines() or ['no message']


def load_pins() -> ModuleType:
    """The project's version pins. Needs no package, and loads no torch."""
    sys.path.insert(0, str(ROOT))
    from tinyvim_mm.core import environment

    return environment
