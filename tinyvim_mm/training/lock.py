"""The lock of a work dir: one training at a time writes into it.

``WORK_DIR/.lock.json`` is locked by the operating system (``flock``) and says who holds it. Where
such locks do not reach, on file systems without them and between machines, the words and the
age of the file decide; the holder renews its time every minute. ``filelock`` has no place for
the words, and does without them where there are no such locks.
"""

import json
import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, Optional, Set, Tuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from ..core.errors import UsageError
from ..core.paths import shown
from ..core.processes import describe_process, is_of_this_system, lives, name_process

FILE = '.lock.json'
#: Seconds between two signs of life.
BEAT = 60.0
#: A training on another machine without such a sign for so long is held for dead.
DEAD = 300.0

# Descriptors of locks that this process holds.
_held: Set[int] = set()


class WorkDirLock:
    """The lock of a work dir that exists.

    Args:
        work_dir: The folder.
        option: By which the user names another one.
    """

    def __init__(self, work_dir: Path, option: str = '--work-dir') -> None:
        self.work_dir = Path(work_dir).absolute()
        self.file = self.work_dir / FILE
        self.option = option
        self._fd = -1
        self._pid = 0
        self._text = b''

    def acquire(self) -> None:
        """Take the lock, also that of a training which is gone; says so.

        Raises:
            UsageError: Another training holds it; the message says which.
            OSError: The folder cannot be written.
        """
        fd, locked = _open(self.file)
        writing = False
        try:
            holder = _parse(os.read(fd, 1 << 16))
            self._refuse_if_held(fd, locked, holder)
            if holder:
                print(f'{name_process(holder)} has ended: its {shown(self.file)} is taken over')
            self._text = json.dumps({**describe_process(), 'flock': bool(locked)}).encode()
            writing = True
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, self._text)
            os.fsync(fd)
        except BaseException:
            if writing:  # on a full disk it has no words
                self.file.unlink(missing_ok=True)
            os.close(fd)
            raise
        self._fd, self._pid = fd, os.getpid()
        _held.add(fd)
        self._ended = threading.Event()
        self._pulse = threading.Thread(target=self._beat, name='work dir lock', daemon=True)
        self._pulse.start()

    def release(self) -> None:
        """Give it back; where it is not held, and in a child process, nothing happens."""
        if self._fd < 0 or os.getpid() != self._pid:
            return
        self._ended.set()
        self._pulse.join()
        with suppress(OSError):
            if self.file.read_bytes() == self._text:
                self.file.unlink()
        _held.discard(self._fd)
        os.close(self._fd)
        self._fd = -1

    def check(self) -> None:
        """See whether the folder is still there, and ours.

        Raises:
            UsageError: It is gone, or another training has taken it over.
        """
        try:
            text = self.file.read_bytes()
        except FileNotFoundError:
            if not self.work_dir.is_dir():
                raise UsageError(gone(self.work_dir)) from None
            self.release()  # somebody removed the file alone
            self.acquire()
            return
        except OSError:  # a network that fails for a moment; writing will tell
            return
        if text != self._text:
            raise UsageError(
                f'work dir {shown(self.work_dir)}: {name_process(_parse(text))} has taken it over, '
                f'so this training (process {os.getpid()}) stops'
            )

    def _beat(self) -> None:
        # System calls and no more: workers are forked while this runs.
        file = self._fd if os.utime in os.supports_fd else self.file
        while not self._ended.wait(BEAT):
            with suppress(OSError):
                os.utime(file)

    def _refuse_if_held(self, fd: int, locked: Optional[bool], holder: Dict[str, Any]) -> None:
        living = _is_held(fd, locked, holder)
        age = _age(fd, self.work_dir) if living is None else 0.0
        # Where the clock was set back, a file of the future is no sign of life.
        if not living and (living is False or abs(age) >= DEAD):
            return
        kill = f'kill {holder["pid"]}' if 'pid' in holder else 'kill it'
        message = (
            f'work dir {shown(self.work_dir)} is in use: {name_process(holder)} trains in it. Wait '
            f'for its end, stop it ({kill}), or name another folder ({self.option})'
        )
        if living is None:
            message += (
                f'. It is on another machine, and gave a sign of life {max(age, 0):.0f} s ago. If '
                f'it is dead, try again {DEAD:.0f} s after that, or remove {shown(self.file)}'
            )
        raise UsageError(message)


def gone(work_dir: Path) -> str:
    """What to tell about a folder that was there."""
    return (
        f'work dir {shown(work_dir)} is gone: it was deleted or moved away while this run wrote '
        'into it, and the run stops'
    )


def _open(file: Path) -> Tuple[int, Optional[bool]]:
    """Open and lock it; what is locked may be a file that its holder has just removed."""
    while True:
        fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            locked = _lock(fd)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(file)):
                    return fd, locked
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _lock(fd: int) -> Optional[bool]:
    """Whether the operating system gave us the lock; ``None`` if there are none here."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _is_held(fd: int, locked: Optional[bool], holder: Dict[str, Any]) -> Optional[bool]:
    """Whether the training lives that wrote these words; ``None`` if only its age can tell."""
    if locked is False or not holder:
        return locked is False
    # A disk of this machine has a device; a network has none, nor has memory.
    reached = is_of_this_system(holder) or os.major(os.fstat(fd).st_dev) != 0
    if locked and holder.get('flock') and reached:
        return False  # the operating system frees the locks of a process that ends
    return lives(holder)


def _age(fd: int, folder: Path) -> float:
    """Seconds since it was touched, by the clock of the file system: machines may disagree."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        return os.fstat(probe.fileno()).st_mtime - os.fstat(fd).st_mtime


def _parse(text: bytes) -> Dict[str, Any]:
    """The words of a holder; empty if they are no such words, as after a full disk."""
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    return {}


def _forget_in_child() -> None:
    # A worker that outlives its training would go on holding the lock.
    while _held:
        os.close(_held.pop())


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget_in_child)
