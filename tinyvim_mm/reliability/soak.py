"""Train for hours while the process is killed and its disk fills up; compare the end.

Both trainings run at the same time, one thread each: the undisturbed one is the truth for
the weights, and the one process that lives long enough to show a leak.
"""

import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

from ..core.errors import UsageError
from .disk import Ballast, is_small
from .memory import Sample, memory_mib
from .resume import compare
from .small_runs import SMALL_RUNS, environment
from .soak_report import Event, report

RUN = SMALL_RUNS['mmpretrain']
#: Of what happens to the training, in ten.
DISTURBANCES = {'SIGKILL': 6, 'SIGTERM': 2, 'full disk': 2}
#: So long a training may go on after SIGTERM, or on a full disk.
PATIENCE_S = 300.0
#: More than are trained, so that it is the time that ends the soak.
EPOCHS = 1_000_000


class Training(NamedTuple):
    """How the training is started; another one in tests.

    Args:
        save_every: Epochs from one checkpoint to the next.
        sample_s: Seconds from one look at it to the next.
    """

    save_every: int = 20
    sample_s: float = 2.0

    def start(self, work_dir: Path, log: Path) -> subprocess.Popen:
        """Start or resume it."""
        command = RUN.command(work_dir, EPOCHS)
        command += [
            f'default_hooks.checkpoint.interval={self.save_every}',
            'default_hooks.checkpoint.max_keep_ckpts=2',
            'default_hooks.logger.interval=10',
            f'train_cfg.val_interval={self.save_every}',
            f'param_scheduler.1.end={EPOCHS}',
        ]
        resuming = [*command[:3], '--resume', *command[3:]]
        with log.open('ab') as stream:
            return subprocess.Popen(
                resuming, stdout=stream, stderr=subprocess.STDOUT, env=environment(threads=1)
            )


def check_soak(
    minutes: float = 90,
    every: float = 3,
    seed: int = 0,
    work_dir: Union[str, Path, None] = None,
    folder: Union[str, Path, None] = None,
) -> bool:
    """Soak a training, print the figures, and write ``soak.json`` and ``soak.png``.

    Args:
        minutes: For how long the training is disturbed. Then the trainings go on until both have
            saved the same epoch.
        every: Minutes from one disturbance to the next, on average.
        seed: Chooses the moments and the kinds.
        work_dir: Of the disturbed training, without one yet. On a file system of at most 2 GiB,
            which the caller mounted for this, that is filled up now and then.
        folder: Keep logs, figures and the undisturbed training here; ``None`` keeps none.

    Returns:
        Whether both trainings end the same, bit by bit, each interruption went as it should, and
        memory is flat.

    Raises:
        UsageError: The work dir holds something, or a number is not positive.
        RuntimeError: A training failed by itself.

    Example:
        >>> from tinyvim_mm.reliability import check_soak
        >>> check_soak(minutes=10, every=1)  # doctest: +SKIP
        True
    """
    if not (0 < minutes < float('inf') and 0 < every < float('inf')):
        raise UsageError('--minutes and --every take positive numbers')
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(folder or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        work_dir = Path(work_dir or folder / 'disturbed').resolve()
        for path in (work_dir / 'training', folder / 'undisturbed'):
            if path.exists():
                raise UsageError(f'{path} is there already: take another folder, or remove it')
        work_dir.mkdir(parents=True, exist_ok=True)
        return Soak(work_dir, folder, seed, 60 * every).run(60 * minutes)


class Soak:
    """Two trainings, one of them disturbed.

    Args:
        work_dir: Holds that of the disturbed training, and the ballast.
        folder: Of everything else.
        seed: Chooses the moments and the kinds.
        every: Seconds from one disturbance to the next, on average.
        training: How one is started.
        ballast: Fills the file system; ``None`` where it is not to be filled.
        warm_up: Seconds that do not count for the memory.
    """

    def __init__(
        self,
        work_dir: Path,
        folder: Path,
        seed: int,
        every: float,
        training: Any = None,
        ballast: Any = None,
        warm_up: float = 60,
    ) -> None:
        self.work_dir, self.folder, self.every, self.warm_up = work_dir, folder, every, warm_up
        self.rng = random.Random(seed)
        self.training = training or Training()
        if ballast is None and is_small(work_dir):
            ballast = Ballast(work_dir / 'ballast')
        self.ballast = ballast
        self.events: List[Event] = []
        self.memory: Dict[str, List[List[Sample]]] = {'undisturbed': [[]], 'disturbed': []}
        self.undisturbed: Optional[subprocess.Popen] = None
        self.epoch = 0
        self.begun = time.monotonic()

    def run(self, seconds: float) -> bool:
        """Both trainings for so long, and the comparison; see :func:`check_soak`."""
        self.begun = time.monotonic()
        print(f'{seconds / 60:g} minutes of two trainings; {self._disk()}', flush=True)
        folders = self.folder / 'undisturbed', self.work_dir / 'training'
        log = self.folder / 'undisturbed.log'
        self.undisturbed = self.training.start(folders[0], log)
        try:
            while self._one_life(*folders, seconds):
                if self.undisturbed.poll() is not None:
                    raise _ended(self.undisturbed, log)
        finally:
            _end(self.undisturbed)
            if self.ballast:
                self.ballast.free()
        took = time.monotonic() - self.begun
        compared = compare(*(folder / f'epoch_{self.epoch}.pth' for folder in folders))
        return report(
            self.folder, took, self.epoch, self.events, self.memory, compared, self.warm_up
        )

    def _one_life(self, undisturbed: Path, disturbed: Path, seconds: float) -> bool:
        """Start or resume the disturbed training, and end it; false once the time is over."""
        log = self.folder / 'disturbed.log'
        process = self.training.start(disturbed, log)
        self.memory['disturbed'].append([])
        kinds = {k: n for k, n in DISTURBANCES.items() if self.ballast or k != 'full disk'}
        (kind,) = self.rng.choices(list(kinds), list(kinds.values()))
        delay = self.rng.uniform(0, 2 * self.every)
        left = seconds - (time.monotonic() - self.begun)
        try:
            if self._watch(process, min(delay, left)):
                raise _ended(process, log)
            if delay >= left:
                pair = [(self.undisturbed, undisturbed), (process, disturbed)]
                self._meet(*sorted(pair, key=lambda one: _latest_epoch(one[1])))
                return False
            if kind == 'full disk':
                self.ballast.fill()
            else:
                process.send_signal(getattr(signal, kind))
            at = time.monotonic() - self.begun
            # What the training frees, a log that is rotated say, is taken, too.
            again = self.ballast.fill if kind == 'full disk' else None
            if not self._watch(process, PATIENCE_S, again):
                _end(process)
            self._note(Event(at, kind, process.poll()), disturbed)
            return True
        finally:
            _end(process)
            if self.ballast:
                self.ballast.free()

    def _meet(
        self, slower: Tuple[subprocess.Popen, Path], faster: Tuple[subprocess.Popen, Path]
    ) -> None:
        """Hold the training that is ahead until the other one has saved the same epoch, too."""
        faster[0].send_signal(signal.SIGSTOP)
        # It may just have saved another; the last two are kept.
        self.epoch = _latest_epoch(faster[1])
        while _latest_epoch(slower[1]) < self.epoch:
            if slower[0].poll() is not None:
                raise RuntimeError(f'a training ended with code {slower[0].poll()}: {slower[1]}')
            time.sleep(0.01)

    def _note(self, event: Event, work_dir: Path) -> None:
        # While it loads its packages a command has no handler for SIGTERM.
        allowed = {
            'SIGKILL': (-signal.SIGKILL,),
            'SIGTERM': (128 + signal.SIGTERM, -signal.SIGTERM),
            'full disk': (2,),
        }[event.kind]
        if event.code not in allowed:
            event = event._replace(fault=f'ended with code {event.code}')
        elif event.kind == 'full disk' and list(work_dir.glob('.*.part')):
            event = event._replace(fault='left half a checkpoint')
        self.events.append(event)
        print(
            f'{event.seconds / 60:.1f} min: {event.kind}, code {event.code}; latest checkpoint '
            f'{max(work_dir.glob("*.pth"), key=_written, default=work_dir).name}'
            + (f'; FAULT: {event.fault}' if event.fault else ''),
            flush=True,
        )

    def _watch(self, process: subprocess.Popen, seconds: float, again: Any = None) -> bool:
        """Look at both trainings until one ends by itself (true), or for so long (false)."""
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            if again:
                again()
            self._look(process, end)
        return process.poll() is not None

    def _look(self, process: Optional[subprocess.Popen] = None, end: float = float('inf')) -> None:
        at = time.monotonic() - self.begun
        for name, one in (('undisturbed', self.undisturbed), ('disturbed', process)):
            mib = memory_mib(one.pid) if one and one.poll() is None else None
            if mib is not None:
                self.memory[name][-1].append((round(at, 2), round(mib, 1)))
        time.sleep(max(0.0, min(self.training.sample_s, end - time.monotonic())))

    def _disk(self) -> str:
        if self.ballast:
            return f'the file system of {self.work_dir} is filled up now and then'
        return f'{self.work_dir} lies on a large file system, which is not filled up'


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _ended(process: subprocess.Popen, log: Path) -> RuntimeError:
    """What is wrong with a training that ended by itself."""
    last = '\n  '.join(log.read_text(errors='replace').splitlines()[-15:])
    return RuntimeError(f'a training ended with code {process.poll()}, see {log}:\n  {last}')


def _latest_epoch(work_dir: Path) -> int:
    return max((int(path.stem[6:]) for path in work_dir.glob('epoch_*.pth')), default=0)


def _written(path: Path) -> Tuple[float, str]:
    try:
        return path.stat().st_mtime, path.name
    except OSError:
        return 0.0, path.name
