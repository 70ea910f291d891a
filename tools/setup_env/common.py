"""The folders of a set-up, its error, its commands, and one set-up at a time."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

PROGRAM = Path(__file__).resolve().parent  # what Python is started with
ROOT = PROGRAM.parent.parent
VENV = ROOT / '.venv'
CACHE = ROOT / '.cache'
LOGS = CACHE / 'logs'

# PYTHONPATH shows pip foreign packages (ROS sets it), so that it installs nothing.
HIDDEN = ('PYTHONPATH', 'PYTHONHOME', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_USER')
TAIL = 40  # lines of a log that an error shows


class SetupError(Exception):
    """The environment cannot be set up; the message says why and what helps."""


def child_environment(variables: Optional[Dict[str, str]] = None) -> Dict[str, str]:
    """Environment of a command: the user's own, less what breaks an installation.

    Nothing may set ``PIP_FIND_LINKS`` here: it replaces what pip is configured
    with, and torch would come from elsewhere.
    """
    kept = {key: value for key, value in os.environ.items() if key not in HIDDEN}
    return dict(kept, PIP_NO_INPUT='1', PIP_DISABLE_PIP_VERSION_CHECK='1', **variables or {})


def ask(
    command: List[str], variables: Optional[Dict[str, str]] = None, timeout: Optional[float] = None
) -> Tuple[bool, str, str]:
    """Run a short command that changes nothing.

    Returns:
        Whether it worked, and what it wrote to stdout and stderr.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            env=child_environment(variables),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, '', str(error)
    output, error = (text.decode(errors='replace') for text in (done.stdout, done.stderr))
    return done.returncode == 0, output, error


def run(
    title: str,
    command: List[str],
    variables: Optional[Dict[str, str]] = None,
    log: Optional[Path] = None,
) -> None:
    """Run a command of a step; if this process is stopped, it ends with all that it started.

    Args:
        title: What an error says has failed.
        command: The command.
        variables: More of them for its environment.
        log: Takes the output, which a person sees otherwise.

    Raises:
        SetupError: It failed.
    """
    with contextlib.ExitStack() as stack:
        out = None
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
            out = stack.enter_context(log.open('wb'))
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if out else None,
            cwd=str(ROOT),
            env=child_environment(variables),
            pass_fds=CheckoutLock.held,
            start_new_session=True,  # so that compilers further down end with it
        )
        stack.callback(end_group, child)
        status = child.wait()
    if status:
        shown = f'. The end of {log}:\n{tail(log)}' if log else ', see above.'
        raise SetupError(
            f'{title} failed (exit status {status}){shown}\n'
            'Once the cause is mended, the same command goes on from here.'
        )


def end_group(child: subprocess.Popen) -> None:
    """End a child that still runs, with everything it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=5)


def tail(log: Path) -> str:
    """The last lines of a log."""
    lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
    return '\n'.join(f'  | {line}' for line in lines[-TAIL:])


class CheckoutLock:
    """The one lock of this checkout. Waits while somebody else has it.

    Commands share it: if one outlives this process (after ``kill -9``), nobody
    else starts until it has ended too.
    """

    held = ()  # descriptors that commands inherit

    @classmethod
    @contextlib.contextmanager
    def taken(cls) -> Iterator[None]:
        """Hold it for a while."""
        import fcntl  # not on Windows, which gets a message of its own

        CACHE.mkdir(exist_ok=True)
        with (CACHE / 'setup_env.lock').open('a') as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print('another set-up of this checkout is at work, waiting for it ...', flush=True)
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError as error:
                # Some network file systems have no locks; that alone is no reason to stop.
                print(f'note: {CACHE} cannot be locked ({error}); do not start this twice at once')
            cls.held = (handle.fileno(),)
            try:
                yield
            finally:
                cls.held = ()
