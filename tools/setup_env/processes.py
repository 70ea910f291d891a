"""Running commands, and ending them with everything they started."""

import contextlib
import os
import selectors
import signal
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

from .common import ROOT
from .lock import CheckoutLock
from .progress import Activity

TAIL = 40  # lines of a log that an error shows


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
    lock: CheckoutLock,
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
