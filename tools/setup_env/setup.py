"""What is wanted, what ``.venv`` has of it, and how steps act on it."""

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Dict, List, Optional, Tuple

from .common import CACHE, ROOT, STAMPS, VENV, SetupError
from .interpreter import THIS_PYTHON, dotted
from .lock import CheckoutLock
from .machine import has_gpu
from .processes import ask, child_environment, run_logged, tail
from .progress import Activity
from .state import canonical, digest, read_json, write_json


class Setup:
    """State of ``.venv`` against what is wanted.

    Args:
        options: The command line.
        lock: Held while anything is changed; not needed to look.
    """

    def __init__(self, options: argparse.Namespace, lock: Optional[CheckoutLock] = None) -> None:
        self.options = options
        self.pins = load_pins()
        self.python = str(VENV / 'bin' / 'python')
        self.lock = lock
        self.log = CACHE / 'logs' / 'setup.log'
        record = read_json(STAMPS / 'venv.json')
        # An option that was not given keeps what is there: `make test` after
        # `make env DEVICE=cuda STACK=openmmlab` must not rebuild everything.
        self.device = options.device or record.get('device') or 'auto'
        if self.device == 'auto':
            self.device = 'cuda' if has_gpu() else 'cpu'
        self.stack = options.stack or record.get('stack') or self.pins.DEFAULT_STACK

    # -- what is there ------------------------------------------------------

    def describe(self) -> str:
        """One line about the environment."""
        return f'{VENV} (Python {self.version}, {self.device}, family {self.stack})'

    def venv_key(self) -> str:
        """Hash of what cannot be changed in place, the folder's own path included."""
        return digest(str(VENV), self.device, self.stack)

    def write_venv_stamp(self, version: str) -> None:
        """Record that the environment itself is there, and its Python version."""
        record = {'key': self.venv_key(), 'device': self.device, 'stack': self.stack}
        write_json(STAMPS / 'venv.json', dict(record, python=version))

    def venv_is_sound(self) -> bool:
        """Whether the environment itself, whatever is installed, is the one wanted."""
        record = read_json(STAMPS / 'venv.json')
        return record.get('key') == self.venv_key() and self.python_works(record.get('python'))

    def python_works(self, recorded: Optional[str]) -> bool:
        """Whether the interpreter runs, is the recorded version and has pip."""
        code = (
            'import sys, importlib.util as u; '
            'print("%d.%d" % sys.version_info[:2], sys.prefix != sys.base_prefix, '
            'u.find_spec("pip") is not None)'
        )
        status, output, _ = ask([self.python, '-I', '-c', code], timeout=60)
        if status != 0 or output.split()[1:] != ['True', 'True']:
            return False
        version = output.split()[0]
        if self.options.exact_python and version != dotted(THIS_PYTHON):
            return False
        return version == recorded

    @property
    def version(self) -> str:
        """Python version of the environment, such as ``'3.11'``; empty without a stamp."""
        return read_json(STAMPS / 'venv.json').get('python', '')

    def packages(self, version: str = '') -> Path:
        """Where packages are installed."""
        return VENV / 'lib' / f'python{version or self.version}' / 'site-packages'

    def installed(self, version: str = '') -> Dict[str, str]:
        """Versions of what is installed, read from folder names alone: it is fast."""
        found = {}
        for folder in self.packages(version).glob('*.dist-info'):
            name, _, version = folder.name[: -len('.dist-info')].partition('-')
            found[canonical(name)] = version
        return found

    # -- acting on it -------------------------------------------------------

    def start_log(self, name: str) -> None:
        """Begin an empty log, which the commands that follow write to."""
        self.log = CACHE / 'logs' / f'{name}.log'
        self.log.write_bytes(b'')

    def call(self, activity: Activity, command: List[str], **environment: str) -> None:
        """Run a command of a step; raise with the end of its output if it fails."""
        status = run_logged(
            command, self.log, activity, child_environment(**environment), self.lock
        )
        if status != 0:
            raise SetupError(
                f'{activity.title} failed (exit status {status}). The end of its output:\n'
                f'{tail(self.log)}\nAll of it: {self.log}\n'
                'Once the cause is mended, the same command goes on from here.'
            )

    def pip(self, activity: Activity, *arguments: str, **environment: str) -> None:
        """Run pip in the environment."""
        self.call(activity, [self.python, '-m', 'pip', *arguments], **environment)

    def offers(self, requirement: str, *flags: str) -> bool:
        """Whether pip finds a requirement; nothing is installed."""
        command = [self.python, '-m', 'pip', 'install', '--dry-run', '--no-deps', '--quiet']
        status, _, error = ask([*command, *flags, requirement])
        with self.log.open('a') as log:
            log.write(f'{requirement} {" ".join(flags)}: found={status == 0}\n{error}\n')
        return status == 0

    def constraints(self) -> List[str]:
        """Options that keep later steps from replacing torch, by gigabytes perhaps."""
        present = self.installed()
        path = STAMPS / 'constraints.txt'
        path.write_text(f'torch=={present["torch"]}\n{self.pins.TORCHVISION}\n', encoding='utf-8')
        return ['--constraint', str(path)]

    def ask_python(self, code: str) -> Tuple[bool, str]:
        """Run some code in the environment; return whether it worked and what it said."""
        status, output, error = ask([self.python, '-I', '-c', code])
        lines = error.strip().splitlines()
        return status == 0, output.strip() if status == 0 else (lines or ['no message'])[-1]


def load_pins() -> ModuleType:
    """The project's version pins. Needs no package, and loads no torch."""
    sys.path.insert(0, str(ROOT))
    from tinyvim_mm.core import environment

    return environment
