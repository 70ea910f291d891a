"""The folder that a run writes into: made, locked, and named when it fails."""

import errno
import os
import re
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Union

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..core.errors import UsageError
from ..core.paths import shown
from .lock import BEAT, WorkDirLock, gone

_FORMAT = '%Y%m%d_%H%M%S'
_LOG_FOLDER = re.compile(r'\d{8}_\d{6}')
#: What a disk says that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.EIO, errno.ESTALE, errno.ELOOP, errno.EEXIST),
)


@contextmanager
def writing_into(
    work_dir: Union[str, Path], lock: bool = False, option: str = '--work-dir'
) -> Iterator[Optional[WorkDirLock]]:
    """Make a work dir; errors of writing there, in this context, say what to do about them.

    Args:
        work_dir: The folder; if nothing was written, it is removed again.
        lock: Refuse it while a training holds it, and hold it.
        option: By which the user names another one.

    Yields:
        The lock, if there is to be one.

    Raises:
        UsageError: It cannot be written, or another training is in it.
    """
    work_dir = Path(work_dir).absolute()
    held = WorkDirLock(work_dir, option) if lock else None
    made = not work_dir.exists()
    try:
        with explaining(work_dir, option):
            _make(work_dir)
            if held:
                held.acquire()
                for part in work_dir.glob('.*.pth.part'):
                    part.unlink()  # half a checkpoint of a training that was killed
            yield held
    finally:
        if held:
            held.release()
        if made:
            with suppress(OSError):
                work_dir.rmdir()


@contextmanager
def explaining(work_dir: Union[str, Path], option: str = '--work-dir') -> Iterator[None]:
    """Say of errors of writing into a work dir what to do about them.

    Raises:
        UsageError: In place of such an error, which is its cause.
    """
    work_dir = Path(work_dir).absolute()
    try:
        yield
    except OSError as error:
        message = _explained(error, work_dir, option)
        if not message:
            raise
        raise UsageError(message) from error


def claim_log_folder(work_dir: Path, timestamp: str) -> str:
    """Make a folder for the logs of one run, and return its name.

    mmengine names it by the second in which the run starts, so that two may share it. Here it is
    always new, and named later than those before it, whatever the clock says: their names tell
    in which order a training was resumed.
    """
    names = [path.name for path in work_dir.iterdir() if _LOG_FOLDER.fullmatch(path.name)]
    moment = _moment(timestamp)
    for name in names:
        with suppress(ValueError, OverflowError):  # eight digits need not be a day
            moment = max(moment, _moment(name) + timedelta(seconds=1))
    while True:
        name = moment.strftime(_FORMAT)
        try:
            (work_dir / name).mkdir()
        except FileExistsError:
            moment += timedelta(seconds=1)
        else:
            return name


class WorkDirHook(Hook):
    """Stops a training whose work dir is gone, or was taken over by another one.

    It looks before the training, before a checkpoint is written, and every minute.
    """

    priority = 'VERY_HIGH'

    def __init__(self, lock: WorkDirLock) -> None:
        self.lock = lock
        self._looked = 0.0

    def before_train(self, runner: Runner) -> None:
        # Two that start at once, where no lock reaches from one to the other, both come here.
        self._look()

    def before_save_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        self._look()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if time.monotonic() - self._looked > BEAT:
            self._look()

    def _look(self) -> None:
        self.lock.check()
        self._looked = time.monotonic()


def free_bytes(folder: Path) -> Optional[int]:
    """What the disk of a folder, which need not exist, has left for this user.

    ``None`` if it does not say: some file systems, as those in user space, count nothing.
    """
    while not folder.is_dir():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return usage.free if usage.total else None


def reason(error: OSError, folder: Path) -> str:
    """Why something could not be written, with the space that is left if that is why."""
    words = error.strerror or str(error)
    free = free_bytes(folder) if error.errno in FULL else None
    return words if free is None else f'{words} ({free / 1e6:,.1f} MB are free)'


def _make(work_dir: Path) -> None:
    if work_dir.exists() and not work_dir.is_dir():
        raise UsageError(f'work dir {shown(work_dir)} is a file, no folder')
    work_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=work_dir):
        pass


def _explained(error: OSError, work_dir: Path, option: str) -> str:
    """What to tell about an error, if the work dir is to blame."""
    named = error.filename if isinstance(error.filename, (str, bytes)) else ''
    file = Path(os.fsdecode(named)).absolute() if named else work_dir
    # Parents of the folder, too: they may be files, or not to be written.
    if not (work_dir == file or work_dir in file.parents or file in work_dir.parents):
        return ''
    if named and error.errno == errno.ENOENT and not work_dir.exists():
        return gone(work_dir)
    if error.errno in FULL:
        return (
            f'work dir {shown(work_dir)} cannot be written: {reason(error, work_dir)}. Make room, '
            f'or name another folder ({option}); a training goes on with --resume'
        )
    if not named or error.errno not in _REFUSED:
        return ''
    at = '' if file == work_dir else f' at {shown(file)}'
    return (
        f'work dir {shown(work_dir)} cannot be written: {reason(error, work_dir)}{at}. Name '
        f'another folder ({option}), or mend this one'
    )


def _moment(name: str) -> datetime:
    return datetime.strptime(name, _FORMAT)
