"""Ctrl-C and SIGTERM in a training: the step is finished, saved, and can be gone on with."""

import os
import signal
import time
from contextlib import contextmanager
from multiprocessing import active_children
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

import torch
from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner._flexible_runner import FlexibleRunner

from ..core.errors import SIGNALED, Interruption, UsageError
from ..core.paths import shown, write_whole
from ..core.signals import handling
from .checkpoints import NOTE, noted_checkpoint
from .epochs import ResumableEpochLoop, go_on_in_epoch, place_in_epoch
from .going_on import resuming
from .workers import guard_workers

#: The checkpoint of an interrupted training. It goes when the next ordinary one is saved.
FILE = 'interrupted.pth'
# Its entry that says where in an epoch it was saved.
_PLACE = 'interruption'
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Of several processes, seconds in which the same signal again is the one that their launcher got,
# too, and hands on: Slurm, systemd and containers send it to all.
_HANDED_ON_S = 3.0


class InterruptionHook(Hook):
    """Saves and ends a training at the first SIGINT or SIGTERM; the second ends it at once.

    In a training of several processes the signal may reach any of them: they agree after each
    step, and stop together.

    Args:
        command: How the user started the training, for the message that says how to go on.
    """

    # After the hooks that change weights and schedules, and after those that save.
    priority = 'LOWEST'

    def __init__(self, command: Optional[str] = None) -> None:
        self.command = command
        # What this process itself got, and what the processes have agreed to end the training for.
        self._received = self._agreed_on = 0
        self._received_at = 0.0
        self._begun = False
        self._resumed: Dict[str, Any] = {}
        self._saving: Optional[Dict[str, Any]] = None
        self._superseded = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note the signals while a training runs in this context.

        Raises:
            Interruption: It was interrupted.
        """
        try:
            with handling(_SIGNALS, self._receive):
                yield
        finally:
            if self._signal and get_world_size() > 1:
                # This one's own may come later, when the processes have long agreed.
                for number in _SIGNALS:
                    signal.signal(number, signal.SIG_IGN)
        if self._signal:  # in the last step, or after it
            raise self._ending(
                'the training had come to its end, what follows it is left out: its checkpoints '
                'are whole'
            )

    @property
    def _signal(self) -> int:
        return self._agreed_on or self._received

    def _receive(self, number: int, frame: Any) -> None:
        code = SIGNALED + number
        handed_on = time.monotonic() - self._received_at < _HANDED_ON_S and get_world_size() > 1
        if self._received == number and handed_on:
            return
        if self._received:
            _say('ended at once; --resume goes on from the last checkpoint')
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for child in active_children():
                child.terminate()
            os._exit(code)
        self._received, self._received_at = number, time.monotonic()
        if self._agreed_on:  # with another process, which got it before
            return
        if not self._begun:
            raise Interruption('interrupted before the first step: nothing is lost', code)
        if is_main_process():
            _say('stopping after this step, to save it; a second signal ends at once')

    # -- where a training goes on ---------------------------------------------------------------

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        if getattr(runner, '_resume', False):
            self._resumed = checkpoint.get(_PLACE) or {}

    def before_train(self, runner: Runner) -> None:
        guard_workers(runner.train_loop.dataloader)
        self._superseded = (Path(runner.work_dir) / FILE).is_file()
        place, self._resumed = self._resumed, {}
        if place.get('batches'):
            go_on_in_epoch(runner, place, FILE)
        if place.get('validate') and runner.val_loop is not None:
            runner.val_loop.run()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._begun = True

    # -- where it may stop ----------------------------------------------------------------------

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._remove_superseded(runner)
        if not self._agreed() or not _between_updates(runner):
            return
        loop, iteration = runner.train_loop, runner.iter + 1
        if not isinstance(loop, EpochBasedTrainLoop):
            if iteration < runner.max_iters and not _validates(runner, iteration):
                self._stop(runner, iteration, f'iteration {iteration} of {runner.max_iters}')
        elif batch_idx + 1 < len(loop.dataloader):  # else the epoch comes to its end first
            where = f'epoch {runner.epoch + 1}, step {batch_idx + 1} of {len(loop.dataloader)}'
            self._stop(runner, iteration, where, batches=batch_idx + 1)

    def before_val(self, runner: Runner) -> None:
        if self._begun and self._agreed() and _between_updates(runner):
            self._stop(runner, runner.iter, f'{_done(runner)}, before its validation', True)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        # Several processes may validate on different numbers of batches, and cannot agree here.
        alone = get_world_size() == 1
        if self._begun and self._signal and alone and _between_updates(runner):
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    hook.after_val_epoch(runner)  # gives the model its own weights back
            self._stop(runner, runner.iter, f'{_done(runner)}, in its validation', True)

    def before_train_epoch(self, runner: Runner) -> None:
        self._remove_superseded(runner)
        if self._begun and self._agreed() and _between_updates(runner):
            self._stop(runner, runner.iter, _done(runner))

    def after_train(self, runner: Runner) -> None:
        self._remove_superseded(runner)

    def _agreed(self) -> bool:
        """Whether a process of the training got a signal; all of them have to ask."""
        number = torch.tensor(self._received)
        if get_world_size() > 1:
            # One that comes while the processes talk counts from the next time on.
            all_reduce(number, 'max')
        self._agreed_on = int(number)
        return self._agreed_on > 0

    def _stop(
        self,
        runner: Runner,
        iteration: int,
        where: str,
        validate: bool = False,
        batches: int = 0,
    ) -> None:
        """Save, and end the training.

        Args:
            runner: Of the training.
            iteration: How many were done.
            where: The same in words.
            validate: Whether a validation is due.
            batches: How many of the epoch were done.
        """
        self._saving = dict(place_in_epoch(runner, batches), validate=validate)
        saved = self._save(runner, iteration, batches)
        barrier()  # torchrun and srun stop those that still save when another one ends
        raise self._ending(f'stopped after {where}; {saved}')

    def _save(self, runner: Runner, iteration: int, batches: int) -> str:
        """Save if that can be resumed, and return in words what was done."""
        last = Path(str(runner.message_hub.runtime_info.get('last_ckpt') or 'none')).name
        lost = f'nothing was saved, the last checkpoint is {last}'
        flexible = isinstance(runner, FlexibleRunner)
        if batches and not isinstance(runner.train_loop, ResumableEpochLoop):
            return f'{lost}: this kind of training cannot go on in the middle of an epoch'
        if flexible and iteration != runner.iter + 1:  # its meta data do not fit this place
            return lost
        path = Path(runner.work_dir) / FILE
        runner.message_hub.update_info('last_ckpt', str(path))
        try:
            meta = dict(epoch=runner.epoch, iter=iteration)
            runner.save_checkpoint(runner.work_dir, FILE, meta=meta, by_epoch=False)
            if is_main_process():
                write_whole(path.with_name(NOTE), os.fsencode(path))
        except (OSError, RuntimeError, UsageError) as error:
            return f'{lost}: {error}'
        return f'saved {shown(path)}'

    def before_save_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        if self._saving is not None:
            checkpoint[_PLACE] = self._saving

    def _remove_superseded(self, runner: Runner) -> None:
        """Remove the checkpoint of an earlier interruption once there is a later one."""
        if not self._superseded or not is_main_process():
            return
        if Path(noted_checkpoint(Path(runner.work_dir))).name not in ('', FILE):
            (Path(runner.work_dir) / FILE).unlink(missing_ok=True)
            self._superseded = False

    def _ending(self, message: str) -> BaseException:
        code = SIGNALED + self._signal
        if not is_main_process():  # one process speaks for all
            return SystemExit(code)
        how = resuming(self.command) if self.command else "the same call, and resume='auto'"
        return Interruption(f'{message}\ngo on with: {how}', code)


def _between_updates(runner: Runner) -> bool:
    """Whether no gradients are being accumulated, which no checkpoint holds."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return all(each.should_update() for each in wrappers)


def _validates(runner: Runner, iteration: int) -> bool:
    """Whether mmengine's loop validates after an iteration."""
    loop = runner.train_loop
    due = iteration >= loop.val_begin and iteration % loop.val_interval == 0
    return runner.val_loop is not None and due


def _done(runner: Runner) -> str:
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return f'epoch {runner.epoch} of {runner.max_epochs}'
    return f'iteration {runner.iter} of {runner.max_iters}'


def _say(text: str) -> None:
    # Not by print, into the middle of which a handler may fall.
    os.write(2, f'\n{text}\n'.encode())
