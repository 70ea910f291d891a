"""The hook that writes ``run.json``, see :mod:`tinyvim_mm.records.run_record`."""

import math
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Set

import torch
from mmengine.dist import all_gather_object, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..core import environment
from ..core.paths import absent
from ..records.run_record import FINISHED, STOPPED, RunRecord
from .hooks import package_versions, scan_choices
from .not_finite import not_finite_since
from .precision import precision_of

#: Between two writes in the middle of an epoch: so much of a killed run is not in ``seconds``.
SECONDS_BETWEEN = 60.0


class RunRecordHook(Hook):
    """Keep the record of a training.

    The main process writes it at the start, with each checkpoint, validation and epoch, at
    least once a minute, and at the end, for which the training runs in :meth:`keeping`.

    The arguments are the config as the user gave it, whether ``--sample`` changed it, and what
    ``--cfg-options`` did.
    """

    # After the hook that saves checkpoints, to see what it saved.
    priority = 'LOWEST'

    def __init__(
        self, config: str, sample: bool = False, options: Optional[Mapping[str, Any]] = None
    ) -> None:
        self.record = RunRecord(
            config_path=config, sample=sample, options=dict(options or {}), started=_now()
        )
        self._started = self._written = time.monotonic()
        self._known: Set[str] = set()

    @contextmanager
    def keeping(self, runner: Runner) -> Iterator[None]:
        """Note how a training ends that runs in this context."""
        self._describe(runner)
        self._write(runner)
        try:
            yield
        except BaseException as error:  # an interrupt ends it, too
            self.record.error = f'{type(error).__name__}: {error}'.rstrip(': ')
            self._end(runner, STOPPED)
            raise
        self._end(runner, FINISHED)

    def before_train(self, runner: Runner) -> None:
        # Not earlier: with a strategy, the runner builds its model when it trains.
        self.record.scan_backends = scan_choices(runner.model)
        self.record.precision = precision_of(getattr(runner, 'optim_wrapper', None))
        self.record.channels_last = bool(runner.cfg.get('channels_last'))
        if self.record.unit == 'epochs':
            self.record.steps_per_epoch = len(runner.train_dataloader)
        if runner.cfg.get('resume') and runner.cfg.get('load_from'):
            self.record.resumed_from = str(runner.cfg.load_from)
        # A resumed run knows those of the run before it.
        self._known = _checkpoints(runner)
        self._count(runner.iter, runner.epoch)
        self._write(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._count(runner.iter + 1, runner.epoch)
        if self._note_checkpoints(runner) or time.monotonic() - self._written > SECONDS_BETWEEN:
            self._write(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        self._count(runner.iter, runner.epoch + 1)
        self._note_checkpoints(runner)
        self._write(runner)

    def after_val_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        step = runner.epoch if self.record.unit == 'epochs' else runner.iter
        self.record.validations.append({**_numbers(metrics or {}), 'step': step})
        self._note_checkpoints(runner)
        self._write(runner)

    def _describe(self, runner: Runner) -> None:
        record, cfg = self.record, runner.cfg
        record.config = Path(cfg.filename).stem
        record.device_names = all_gather_object(_device_name())
        record.devices = len(record.device_names)
        record.versions = package_versions(cfg)
        record.batch_size = cfg.train_dataloader.get('batch_size')
        by_epoch = 'max_epochs' in cfg.train_cfg
        record.unit = 'epochs' if by_epoch else 'iterations'
        record.length = cfg.train_cfg['max_epochs' if by_epoch else 'max_iters']

    def _count(self, steps: int, epochs: int) -> None:
        self.record.steps = steps
        self.record.done = epochs if self.record.unit == 'epochs' else steps

    def _note_checkpoints(self, runner: Runner) -> bool:
        new = _checkpoints(runner) - self._known
        self._known |= new
        self.record.checkpoints += sorted(Path(path).name for path in new)
        return bool(new)

    def _end(self, runner: Runner, state: str) -> None:
        self.record.state = state
        self._note_checkpoints(runner)  # of an interruption
        self.record.ended = _now()
        self._write(runner)

    @master_only
    def _write(self, runner: Runner) -> None:
        self._written = time.monotonic()
        self.record.seconds = round(self._written - self._started, 3)
        self.record.losses_not_finite_since = not_finite_since(runner)
        try:
            self.record.write(Path(runner.work_dir) / runner.timestamp)
        except OSError as error:  # no reason to lose a training
            runner.logger.warning(f'the record of this run cannot be written: {error}')


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec='seconds')


def _device_name() -> str:
    kind = environment.accelerator()
    return 'CPU' if kind is None else getattr(torch, kind).get_device_name()


def _checkpoints(runner: Runner) -> Set[str]:
    """Paths of the latest and the best checkpoints that mmengine's hook saved.

    Their names are noted before they are written, which may fail.
    """
    known = runner.message_hub.runtime_info.items()
    paths = {
        str(path) for key, path in known if path and key.startswith(('last_ckpt', 'best_ckpt'))
    }
    return {path for path in paths if not absent(path)}


def _numbers(metrics: Mapping[str, Any]) -> Dict[str, Optional[float]]:
    """The metrics that are numbers, of Python and not of numpy; ``None`` for nan."""
    found = {}
    for name, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue  # words and lists are no scores
        found[name] = number if math.isfinite(number) else None
    return found
