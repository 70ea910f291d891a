"""Creates and fills the virtual environment ``.venv`` of this checkout.

Standard library only, because it runs before anything is installed. ``make
env`` calls it; by hand: ``python3 tools/setup_env.py --help``.

Every step leaves a stamp in ``.venv/.tinyvim`` after it succeeded, so the
script may be stopped at any moment and started again. The versions come from
``tinyvim_mm/environment.py``. What took long to build is kept in ``.cache``.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / '.venv'
STAMPS = VENV / '.tinyvim'
CACHE = ROOT / '.cache'

# In order of preference: 3.11 is the version that most checks were made with.
SUPPORTED_PYTHONS = ((3, 11), (3, 12), (3, 10))
MINIMUM_PIP = (22, 2)  # knows --dry-run
TORCH_INDEX = 'https://download.pytorch.org/whl/'
PLAIN_INDEX = 'pip'  # value of --torch-index: whatever pip itself finds
WANTED_DISK = {'cpu': 6, 'cuda': 15}  # GB
MEMORY_PER_JOB = 1.5e9  # bytes that one compiler process of mmcv may take
HEARTBEAT = 30  # seconds between two lines where output is not a terminal
KERNEL_SUFFIXES = ('.py', '.h', '.hpp', '.cuh', '.c', '.cpp', '.cu')
TAIL = 40  # lines of a log that an error shows


class SetupError(Exception):
    """The environment cannot be set up; the message says why and what helps."""


# ---------------------------------------------------------------------------
# What a person sees


class Activity:
    """One step at work: a line that is rewritten on a terminal, few lines elsewhere.

    Args:
        title: What the step does.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ''
        self.subject = 'operators'  # what a compiler's count is about
        self.counts = False  # whether the detail is such a count: it replaces the title
        self.started = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._shown = self.started
        self._tenths = 0
        self._last_line = self.started
        self._build_started = 0.0
        if not self._terminal:
            print(f'{title} ...', flush=True)

    def feed(self, line: str) -> None:
        """Look at one line of a command's output and show what it tells."""
        progress = re.match(r'\s*\[(\d+)/(\d+)\]', line)
        if progress:
            self._feed_progress(int(progress.group(1)), int(progress.group(2)))
        elif re.match(r'(Collecting|Downloading|Building|Installing|Preparing) ', line.strip()):
            self.detail = line.strip()[:70]
            self.counts = False
        self._last_line = time.monotonic()
        self.tick()

    def tick(self) -> None:
        """Show the present state if it is time to."""
        now = time.monotonic()
        elapsed = format_seconds(now - self.started)
        detail = f' {self.detail}' if self.detail else ''
        if self._terminal:
            text = f'{self.title} ... {elapsed}{detail}'
            if self.counts:
                text = f' {detail} ({elapsed})'
            width = shutil.get_terminal_size().columns - 1
            print('\r\033[K' + text[:width], end='', flush=True)
        elif now - self._shown >= HEARTBEAT:
            self._shown = now
            print(f'  {elapsed}:{detail or " at work"}', flush=True)

    def note(self, text: str) -> None:
        """Print a whole line that stays."""
        self._clear()
        print(f'  {text}', flush=True)

    def finish(self) -> None:
        """Print that the step is done and how long it took."""
        self._clear()
        elapsed = format_seconds(time.monotonic() - self.started)
        print(f'{self.title}: done in {elapsed}' if self._terminal else f'  done in {elapsed}')
        sys.stdout.flush()

    def abandon(self) -> None:
        """Leave the terminal's line, so that a message can follow."""
        if self._terminal:
            print(flush=True)

    def _clear(self) -> None:
        if self._terminal:
            print('\r\033[K', end='')

    def _feed_progress(self, done: int, total: int) -> None:
        if not self._build_started:
            self._build_started = self._last_line  # ninja prints what has ended
        self.counts = True
        self.detail = f'{self.subject} {done}/{total}'
        rest = (time.monotonic() - self._build_started) / done * (total - done)
        if done == total:
            self.detail += ', linking'
        elif done > 2:
            self.detail += f', about {format_rest(rest)} left'
        tenths = 10 * done // total
        if tenths != self._tenths:
            self._tenths = tenths
            self._shown -= HEARTBEAT


def format_seconds(seconds: float) -> str:
    """``'23 s'`` or ``'2 min 5 s'``."""
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest} s' if minutes else f'{rest} s'


def format_rest(seconds: float) -> str:
    """A remaining time, as coarse as it is known."""
    return f'{seconds / 60:.0f} min' if seconds >= 90 else f'{max(seconds, 1):.0f} s'


# ---------------------------------------------------------------------------
# Commands


def child_environment(**extra: str) -> Dict[str, str]:
    """Environment of pip and the checks: the user's own, less what breaks a venv.

    The user's pip configuration (index, mirror, ``find-links``) is kept on
    purpose. In particular nothing may set ``PIP_FIND_LINKS`` here: it replaces
    that configuration, and torch would come from elsewhere.
    """
    # PYTHONPATH shows pip foreign packages (ROS sets it), so it installs nothing.
    hidden = ('PYTHONPATH', 'PYTHONHOME', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_REPORT')
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment.update(
        PIP_USER='0',
        PIP_NO_INPUT='1',
        PIP_DISABLE_PIP_VERSION_CHECK='1',
        PYTHONUNBUFFERED='1',
        **extra,
    )
    return environment


def ask(command: List[str], timeout: Optional[float] = None) -> Tuple[int, str, str]:
    """Run a short command that changes nothing.

    Returns:
        Its exit status (127 if it cannot be run or takes too long) and what it
        wrote to stdout and stderr.
    """
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            env=child_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, '', str(error)
    return (
        result.returncode,
        result.stdout.decode(errors='replace'),
        result.stderr.decode(errors='replace'),
    )


def run_logged(
    command: List[str],
    log: Path,
    activity: Activity,
    environment: Dict[str, str],
    lock: 'CheckoutLock',
) -> int:
    """Run a command, its whole output into ``log``, its progress to ``activity``.

    The child shares the lock: if it outlives this process (after ``kill -9``),
    nobody else starts until it has ended too.

    Returns:
        The exit status.
    """
    with log.open('ab') as out:
        out.write(('$ ' + ' '.join(command) + '\n').encode())
        out.flush()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=str(ROOT),
            env=environment,
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # so that compilers further down end with it
        )
        try:
            lock.record(child.pid)
            for line in read_lines(child.stdout.fileno()):
                if line is None:
                    activity.tick()
                else:
                    out.write(line)
                    out.flush()
                    activity.feed(line.decode(errors='replace'))
            return child.wait()
        finally:
            end_group(child)
            child.stdout.close()


def read_lines(descriptor: int) -> Iterator[Optional[bytes]]:
    """Lines as they come, and ``None`` after every second without one."""
    rest = b''
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=1):
                yield None
                continue
            block = os.read(descriptor, 1 << 16)
            if not block:
                break
            *lines, rest = (rest + block).split(b'\n')
            for line in lines:
                yield line + b'\n'
    if rest:
        yield rest + b'\n'


def end_group(child: subprocess.Popen) -> None:
    """End a child that still runs, with everything it started."""
    if child.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=5)
            return


def tail(log: Path) -> str:
    """The last lines of a log."""
    lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
    return '\n'.join(f'  | {line}' for line in lines[-TAIL:])


# ---------------------------------------------------------------------------
# The machine


def ensure_supported_python(exact: bool) -> None:
    """Go on under a Python that the project supports, or raise.

    Args:
        exact: The user named this Python, so no other one is taken instead.
    """
    if sys.version_info[:2] in SUPPORTED_PYTHONS:
        return
    if not exact:
        for command in (str(VENV / 'bin' / 'python'), *map(python_name, SUPPORTED_PYTHONS)):
            path = shutil.which(command)
            if path and python_version(path) in SUPPORTED_PYTHONS:
                sys.stdout.flush()
                os.execv(path, [path, str(Path(__file__).resolve()), *sys.argv[1:]])
    present = '{}.{}'.format(*sys.version_info[:2])
    raise SetupError(
        f'Python 3.10, 3.11 or 3.12 is needed; this is {present} ({sys.executable})'
        + ('' if exact else ', and no other one is on the PATH')
        + '.\nInstall one of them and name it: make PYTHON=python3.11 demo'
    )


def python_name(version: Tuple[int, int]) -> str:
    return 'python{}.{}'.format(*version)


def python_version(python: str) -> Optional[Tuple[int, int]]:
    """Version of an interpreter, ``None`` if it does not run (a stale link, a shim)."""
    code = 'import sys; print(*sys.version_info[:2])'
    try:
        output = subprocess.check_output(
            [python, '-I', '-S', '-c', code], stderr=subprocess.DEVNULL, timeout=20
        )
        major, minor = output.split()
        return int(major), int(minor)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def base_python() -> str:
    """The interpreter to make environments from, also if this one lives in ``.venv``."""
    return getattr(sys, '_base_executable', None) or os.path.realpath(sys.executable)


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


# ---------------------------------------------------------------------------
# Stamps, locks, hashes


def read_json(path: Path) -> Dict:
    """A JSON object, empty if the file is missing or broken."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Dict) -> None:
    """Write a file that is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix('.new')
    draft.write_text(json.dumps(content, indent=1), encoding='utf-8')
    os.replace(str(draft), str(path))


def digest(*parts: str) -> str:
    """Short hash of some strings."""
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()[:16]


def file_digest(paths: Iterable[Path]) -> str:
    """Hash of the contents of those files that exist, and of their names."""
    parts = []
    for path in sorted(paths):
        if path.is_file():
            parts += [str(path.relative_to(ROOT)), hashlib.sha256(path.read_bytes()).hexdigest()]
    return digest(*parts)


class CheckoutLock:
    """The one lock of this checkout. Waits while somebody else has it.

    The file names its holder and the command that the holder runs, so that a
    command left behind by a killed holder can be told from one that is wanted.
    """

    def __init__(self) -> None:
        CACHE.mkdir(exist_ok=True)
        self._path = CACHE / 'setup_env.lock'
        self._handle = self._path.open('a')

    def __enter__(self) -> 'CheckoutLock':
        import fcntl  # not on Windows, which gets a message of its own

        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = read_json(self._path)
            if not end_orphan(holder.get('holder', 0), holder.get('child', 0)):
                print('another set-up of this checkout is at work, waiting for it ...', flush=True)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
        except OSError as error:
            # Some network file systems have no locks; that alone is no reason to stop.
            print(f'note: {CACHE} cannot be locked ({error}); do not start this twice at once')
        self.record(0)
        return self

    def __exit__(self, *exception: object) -> None:
        self._handle.close()

    def fileno(self) -> int:
        return self._handle.fileno()

    def record(self, child: int) -> None:
        """Note which command runs, also the head of its process group."""
        self._handle.truncate(0)
        self._handle.write(json.dumps({'holder': os.getpid(), 'child': child}))
        self._handle.flush()


def end_orphan(holder: int, child: int) -> bool:
    """End a command whose start was killed; nothing would use its result.

    Returns:
        Whether there was one. Without ``/proc`` none is recognised.
    """
    alone = Path(__file__).name not in command_line(holder)
    if not (alone and str(VENV) in command_line(child)):
        return False
    print('ending what an interrupted set-up left running', flush=True)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, number)
        for _ in range(50):
            if not command_line(child):
                return True
            time.sleep(0.1)
    return True


def command_line(process: int) -> str:
    """Command line of a process, empty if there is none."""
    try:
        return Path(f'/proc/{process}/cmdline').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return ''


def canonical(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r'[-_.]+', '-', name).lower()


def distribution(requirement: str) -> str:
    """``'setuptools>=64,<81'`` to ``'setuptools'``."""
    return canonical(re.split(r'[<>=!~\[; ]', requirement, maxsplit=1)[0])


# ---------------------------------------------------------------------------
# The set-up


class Step(NamedTuple):
    """One part of the set-up.

    Attributes:
        name: Name of its stamp and of its log.
        title: What is shown.
        requirements: What it installs. Those with one version are looked up at
            every start, so that a package changed or removed by hand is put back.
        install: Does it.
        content: Anything else that must lead to doing it again.
    """

    name: str
    title: str
    requirements: Tuple[str, ...]
    install: Callable[['Setup', Activity], Optional[Dict]]
    content: str = ''


class Setup:
    """State of ``.venv`` against what is wanted.

    Args:
        options: The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.pins = load_pins()
        self.python = str(VENV / 'bin' / 'python')
        self.lock: Optional[CheckoutLock] = None  # while it is at work
        self.log = CACHE / 'logs' / 'setup.log'
        record = read_json(STAMPS / 'venv.json')
        # An option that was not given keeps what is there: `make test` after
        # `make env DEVICE=cuda STACK=openmmlab` must not rebuild everything.
        self.device = options.device or record.get('device') or 'auto'
        if self.device == 'auto':
            self.device = 'cuda' if has_gpu() else 'cpu'
        self.stack = options.stack or record.get('stack') or self.pins.DEFAULT_STACK
        self.steps = make_steps(self)

    # -- what is there ------------------------------------------------------

    def describe(self) -> str:
        """One line about the environment."""
        return f'{VENV} (Python {self.version}, {self.device}, family {self.stack})'

    def pending(self) -> Optional[List[Step]]:
        """Steps to do; ``None`` if even the environment itself is missing or broken."""
        record = read_json(STAMPS / 'venv.json')
        if record.get('key') != self.venv_key() or not self.python_works(record.get('python')):
            return None
        present = self.installed()
        return [
            step
            for step, key in zip(self.steps, self.keys(), strict=True)
            if not self.is_done(step, key, present)
        ]

    def venv_key(self) -> str:
        """Hash of what cannot be changed in place, the folder's own path included."""
        return digest(str(VENV), self.device, self.stack)

    def keys(self) -> Iterator[str]:
        """One hash a step; each depends on the steps before, whose results it builds on."""
        key = self.venv_key()
        for step in self.steps:
            key = digest(key, step.name, *step.requirements, step.content)
            yield key

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
        if self.options.exact_python and version != '{}.{}'.format(*sys.version_info[:2]):
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

    @staticmethod
    def is_done(step: Step, key: str, present: Dict[str, str]) -> bool:
        stamp = read_json(STAMPS / f'{step.name}.json')
        versions = stamp.get('versions', {})
        return stamp.get('key') == key and all(
            present.get(name) == version for name, version in versions.items()
        )

    # -- doing it -----------------------------------------------------------

    def run(self, lock: CheckoutLock) -> None:
        """Do everything that is not done yet."""
        self.lock = lock
        (CACHE / 'logs').mkdir(parents=True, exist_ok=True)
        discard(*(CACHE / 'tmp').glob('*'))  # of a killed start
        pending = self.pending()
        if pending is None or any(step.name == 'torch' for step in pending):
            warn_of_little_disk(self.device)
        if pending is None:
            make_venv(self)
            (CACHE / 'venv-incomplete').unlink(missing_ok=True)
            pending = self.pending()
            if pending is None:
                raise SetupError(f'{self.python} does not run although it was just made')
        forget_half_installed(self)
        for step, key in zip(self.steps, self.keys(), strict=True):
            if step in pending:
                self.do(step, key)

    def do(self, step: Step, key: str) -> None:
        """Do one step and stamp it."""
        stamp = STAMPS / f'{step.name}.json'
        if stamp.exists():
            stamp.unlink()
        self.log = CACHE / 'logs' / f'{step.name}.log'
        self.log.write_bytes(b'')
        number = self.steps.index(step) + 1
        activity = Activity(f'[{number}/{len(self.steps)}] {step.title}')
        try:
            facts = step.install(self, activity) or {}
        except BaseException:
            activity.abandon()
            raise
        present = self.installed()
        # Of an open requirement a later step may take another version, rightly.
        pinned = [distribution(wanted) for wanted in step.requirements if '==' in wanted]
        versions = {name: present.get(name) for name in pinned}
        write_json(stamp, {'key': key, 'versions': versions, 'facts': facts})
        activity.finish()

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
    from tinyvim_mm import environment

    return environment


def make_steps(setup: Setup) -> List[Step]:
    """All steps after the environment itself, in order."""
    pins, stack = setup.pins, setup.pins.STACKS[setup.stack]
    sources = [ROOT / name for name in ('setup.py', 'pyproject.toml')]
    sources += [ROOT / 'tinyvim_mm' / name for name in ('environment.py', 'version.py')]
    # An editable install compiles these. Not all files: __pycache__ changes by itself.
    kernels = (ROOT / 'kernels').rglob('*')
    sources += [path for path in kernels if path.suffix in KERNEL_SUFFIXES]
    build = {'cpu': 'CPU build', 'cuda': 'CUDA build'}[setup.device]
    tests = ', '.join(map(distribution, pins.TEST_REQUIREMENTS))
    return [
        Step('torch', f'{pins.TORCH}, {build}', (pins.TORCH,), install_torch),
        plain_step('build', 'build tools', pins.BUILD_REQUIREMENTS),
        Step(
            'stack',
            f'{stack["mmcv"]} and the other {setup.stack} packages',
            tuple(pins.requirements(setup.stack)),
            install_stack,
        ),
        Step('torchvision', pins.TORCHVISION, (pins.TORCHVISION, 'pillow'), install_torchvision),
        plain_step('test', f'tools for tests: {tests}', pins.TEST_REQUIREMENTS),
        Step(
            'package',
            'tinyvim_mm, editable',
            ('tinyvim_mm',),
            install_package,
            file_digest(sources),
        ),
    ]


# -- the environment itself


def make_venv(setup: Setup) -> None:
    """Make ``.venv`` anew, or take an empty one that the user made."""
    incomplete = CACHE / 'venv-incomplete'
    record = {'key': setup.venv_key(), 'device': setup.device, 'stack': setup.stack}
    ours = STAMPS.exists() or incomplete.exists()
    if not ours and os.path.lexists(str(VENV)) and not is_empty(VENV):
        version = adoptable_version(setup)
        if version:
            print(f'using the empty environment {VENV}')
            write_json(STAMPS / 'venv.json', dict(record, python=version))
            ensure_pip(setup)
            return
        set_aside(VENV)
    elif VENV.exists():
        print(f'{VENV} is incomplete or not what is wanted: making it anew')
    python = base_python()
    if ask([python, '-c', 'import venv, ensurepip'])[0] != 0:
        raise SetupError(
            f'{python} cannot make virtual environments. On Debian and Ubuntu: '
            f'sudo apt-get install python3-venv (or {python_name(sys.version_info[:2])}-venv)'
        )
    # Until its stamp is there, the folder counts as half made.
    incomplete.touch()
    if VENV.exists() and not VENV.is_symlink():
        # To move it away is done at once; to delete it may take minutes.
        grave = CACHE / 'tmp' / f'venv-{os.getpid()}'
        grave.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # a mount point, as containers have, stays
            os.rename(str(VENV), str(grave))
            discard(grave)
    shutil.rmtree(str(STAMPS), ignore_errors=True)  # first, if the folder had to stay
    setup.log = CACHE / 'logs' / 'venv.log'
    setup.log.write_bytes(b'')
    version = '{}.{}'.format(*sys.version_info[:2])
    activity = Activity(f'virtual environment .venv, Python {version}')
    # Through a link, as it may lead to another disk: venv refuses the link itself.
    setup.call(activity, [python, '-m', 'venv', '--clear', os.path.realpath(str(VENV))])
    ensure_pip(setup, activity)
    write_json(STAMPS / 'venv.json', dict(record, python=version))
    activity.finish()


def adoptable_version(setup: Setup) -> Optional[str]:
    """Python version of a ``.venv`` that is not ours, if it is sound and still empty."""
    version = python_version(setup.python)
    if version not in SUPPORTED_PYTHONS:
        return None
    name = '{}.{}'.format(*version)
    if not setup.python_works(name) or ask([setup.python, '-m', 'pip', '--version'])[0] != 0:
        return None
    ours = {'torch', 'torchvision'}
    for stack in setup.pins.STACKS.values():
        ours.update(map(distribution, stack.values()))
    return None if ours & set(setup.installed(name)) else name


def is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


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


def set_aside(folder: Path) -> None:
    """Move something away that this script did not make: it may be dear to somebody."""
    target = CACHE / 'replaced' / time.strftime('venv-%Y%m%d-%H%M%S')
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(str(folder), str(target))
    print(f'{folder} was not made by this script and is broken or in use: moved to {target}')


def ensure_pip(setup: Setup, activity: Optional[Activity] = None) -> None:
    """Bring an old pip to a version that can be asked without installing."""
    _, output, _ = ask([setup.python, '-m', 'pip', '--version'])
    found = re.match(r'pip (\d+)\.(\d+)', output)
    if not found or (int(found.group(1)), int(found.group(2))) < MINIMUM_PIP:
        activity = activity or Activity('newer pip')
        setup.pip(activity, 'install', '--upgrade', 'pip>={}.{}'.format(*MINIMUM_PIP))


def forget_half_installed(setup: Setup) -> None:
    """Remove what a killed pip left, which a later pip would take for installed.

    pip writes a distribution's ``RECORD`` last.
    """
    packages = setup.packages()
    for folder in (*packages.glob('*.dist-info'), *packages.glob('~*')):
        record = folder / 'RECORD'
        if folder.name.startswith('~') or not record.exists() or not record.stat().st_size:
            shutil.rmtree(str(folder), ignore_errors=True)


# -- installing


def plain_step(name: str, title: str, requirements: Iterable[str]) -> Step:
    """A step that installs its requirements as pip finds them."""
    wanted = tuple(requirements)

    def install(setup: Setup, activity: Activity) -> None:
        setup.pip(activity, 'install', *setup.constraints(), *wanted)

    return Step(name, title, wanted, install)


def torch_source(setup: Setup, requirement: str) -> Optional[List[str]]:
    """Arguments for pip that give the right build of torch or torchvision.

    Asked for as ``+cpu``, a CPU build is found or not found by its name; pip
    never has to load a CUDA build of a gigabyte to learn what it is.

    Returns:
        ``None`` if a CPU build is wanted and nobody has it.
    """
    index = setup.options.torch_index
    if index == PLAIN_INDEX:
        return [requirement]
    if index:
        return [requirement, '--index-url', index]
    if setup.device == 'cuda':
        driver = driver_cuda()
        # Untried: no machine with an older driver was at hand. The default
        # build of this torch is made for CUDA 13, which such a driver refuses.
        old = driver is not None and driver < 13
        return [requirement, *(['--index-url', TORCH_INDEX + 'cu126'] if old else [])]
    if platform.system() == 'Darwin':
        return [requirement]
    cpu = requirement + '+cpu'
    # First what pip is set up to use here: a mirror, a folder of wheels.
    if setup.offers(cpu):
        return [cpu]
    public = ['--index-url', TORCH_INDEX + 'cpu']
    if setup.offers(cpu, *public, '--retries', '1', '--timeout', '20'):
        return [cpu, *public]
    return None


def install_torch(setup: Setup, activity: Activity) -> Dict:
    """Install torch and see whether it is the build that was wanted."""
    source = torch_source(setup, setup.pins.TORCH)
    if source is None:
        raise SetupError(
            f'No CPU build of {setup.pins.TORCH} for Python {setup.version} can be had: neither '
            f'from the sources that pip is configured with nor from {TORCH_INDEX}cpu.\n'
            f'Details: {setup.log}\nWhat helps:\n'
            '  make TORCH_INDEX=<address of a mirror of that index> demo\n'
            '  make TORCH_INDEX=pip demo   # takes the CUDA build from your package index:\n'
            '                              # several gigabytes, runs without a GPU too'
        )
    setup.pip(activity, 'install', *source)
    facts = torch_facts(setup)
    if setup.device == 'cuda' and facts['cuda'] is None:
        raise SetupError(
            f'pip installed torch {facts["version"]}, which has no CUDA. Name the index of a CUDA '
            f'build, such as make TORCH_INDEX={TORCH_INDEX}cu130 demo, or use make DEVICE=cpu demo'
        )
    if setup.device == 'cuda' and not facts['capability']:
        activity.note(f'torch {facts["version"]} sees no GPU: is the driver new enough?')
    return facts


def torch_facts(setup: Setup) -> Dict:
    """Version, CUDA version and compute capability, as the installed torch says."""
    worked, answer = setup.ask_python(
        'import json, torch; gpu = torch.version.cuda and torch.cuda.is_available(); '
        'print(json.dumps(dict(version=torch.__version__, cuda=torch.version.cuda, capability='
        '"sm%d%d" % torch.cuda.get_device_capability() if gpu else "")))'
    )
    if not worked:
        raise SetupError(f'torch is installed but fails to import: {answer}')
    return json.loads(answer.splitlines()[-1])


def install_torchvision(setup: Setup, activity: Activity) -> Dict:
    """Install torchvision, or go on without it: only mmpretrain needs it."""
    requirement = setup.pins.TORCHVISION
    source = torch_source(setup, requirement)
    if source is None:
        source = [requirement]
        activity.note(
            'no CPU build of torchvision can be had here; taking the one pip finds. Its transforms '
            'and models work (tinyvim_mm sees to it), torchvision.ops does not'
        )
    try:
        setup.pip(activity, 'install', 'pillow', *setup.constraints())
        setup.pip(activity, 'install', '--no-deps', *source)
    except SetupError as error:
        activity.note(
            f'no torchvision, so mmpretrain will not be usable; see {setup.log}. To have it tried '
            f'again, delete {STAMPS / "torchvision.json"}'
        )
        return {'missing': str(error).partition('\n')[0]}
    return {}


def install_package(setup: Setup, activity: Activity) -> Dict:
    """Install this project so that changed sources count at once; compiles its operators."""
    # Not isolated: the build must see torch, and needs no network.
    flags = ['--verbose', '--no-deps', '--no-build-isolation', '--editable']
    setup.pip(activity, 'install', *flags, '.', **build_environment(setup))
    compiled = any((ROOT / 'tinyvim_mm').glob('_C*.so'))
    if not compiled:
        activity.note(
            'without its compiled operators: the scan runs in plain PyTorch, which is slower. '
            f'See {setup.log}'
        )
    return {'compiled': compiled}


# -- mmcv


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
    check_compilers(setup)
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
        **dict(build_environment(setup), **variables),
    )
    return keep_wheel(next(scratch.glob('*.whl')), store)


def keep_wheel(wheel: Path, store: Path) -> Path:
    """Move a wheel into its folder in the cache, at once and whole."""
    store.mkdir(parents=True, exist_ok=True)
    os.replace(str(wheel), str(store / wheel.name))
    return store / wheel.name


def build_environment(setup: Setup) -> Dict[str, str]:
    """Variables that torch's build tools read."""
    variables = {
        'PATH': str(VENV / 'bin') + os.pathsep + os.environ.get('PATH', ''),  # ninja is there
        'MAX_JOBS': build_jobs(),
        'NINJA_STATUS': '[%f/%t] ',
    }
    if setup.device == 'cpu':
        # The user may have wanted no CUDA beside a CUDA build of torch and a GPU.
        variables.update(FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
    elif find_cuda_home():
        variables['CUDA_HOME'] = str(find_cuda_home())
    return variables


def check_compilers(setup: Setup) -> None:
    """Raise, before minutes are spent, if something is missing to compile with."""
    worked, include = setup.ask_python('import sysconfig; print(sysconfig.get_path("include"))')
    compiler = os.environ.get('CXX') or 'g++'
    missing = []
    if not any(map(shutil.which, (compiler.split()[0], 'c++'))):
        missing.append(f'a C++ compiler ({compiler})')
    if not (worked and (Path(include) / 'Python.h').exists()):
        missing.append(f"Python's headers ({include}/Python.h)")
    if missing:
        raise SetupError(
            f'mmcv must be compiled, and this is missing: {", ".join(missing)}.\n'
            'On Debian and Ubuntu: sudo apt-get install build-essential python3-dev'
        )
    if setup.device == 'cuda':
        check_nvcc(torch_facts(setup)['cuda'])


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


# ---------------------------------------------------------------------------
# Command line


def parse(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Set up the virtual environment .venv.')
    parser.add_argument(
        '--device',
        choices=('auto', 'cpu', 'cuda'),
        help='which build of torch; auto: CUDA if nvidia-smi lists a GPU. Default: what the '
        'environment has, else auto',
    )
    parser.add_argument(
        '--stack',
        choices=('onedl', 'openmmlab'),
        help='family of OpenMMLab packages. Default: what the environment has, else onedl',
    )
    parser.add_argument(
        '--torch-index',
        metavar='URL',
        default=os.environ.get('TORCH_INDEX'),
        help='package index for torch and torchvision; "pip" for what pip finds by itself',
    )
    parser.add_argument(
        '--mmcv-wheels',
        metavar='DIR',
        default=os.environ.get('MMCV_WHEELS'),
        help='folder with built wheels of mmcv (default: the variable MMCV_WHEELS)',
    )
    parser.add_argument(
        '--exact-python',
        action='store_true',
        help='this very Python: rebuild an environment of another version',
    )
    parser.add_argument('--quiet', action='store_true', help='say nothing if nothing is to be done')
    return parser.parse_args(arguments)


def set_up(options: argparse.Namespace) -> None:
    """Bring the environment to what is wanted."""
    ensure_supported_python(options.exact_python)
    setup = Setup(options)
    if setup.pending() == []:
        if not options.quiet:
            print(f'{setup.describe()} is up to date')
        return
    with CheckoutLock() as lock:
        started = time.monotonic()
        setup = Setup(options)  # somebody else may have worked while this one waited
        if setup.pending() != []:
            setup.run(lock)
            elapsed = format_seconds(time.monotonic() - started)
            print(f'{setup.describe()} is ready, {elapsed}')


def stop(number: int, frame: object) -> None:
    """Turn a signal into an exception, so that children are ended as well."""
    raise SystemExit(128 + number)


def main() -> int:
    """Entry point."""
    options = parse()
    if os.name != 'posix':
        print('error: Linux or macOS is needed; on Windows, use WSL', file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    try:
        set_up(options)
    except (SetupError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nstopped; the same command goes on from here', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
