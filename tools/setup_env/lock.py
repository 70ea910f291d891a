"""One set-up of a checkout at a time."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Dict

from .common import CACHE, VENV
from .state import read_json


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
            if not end_orphan(read_json(self._path)):
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
        holder = os.getpid()
        record = {'holder': holder, 'started_as': command_line(holder), 'child': child}
        self._handle.truncate(0)
        self._handle.write(json.dumps(record))
        self._handle.flush()


def end_orphan(record: Dict) -> bool:
    """End a command whose start was killed; nothing would use its result.

    Args:
        record: Content of the lock's file.

    Returns:
        Whether there was one. Without ``/proc`` none is recognized.
    """
    child = record.get('child', 0)
    alone = command_line(record.get('holder', 0)) != record.get('started_as')
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
