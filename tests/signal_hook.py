"""A hook for configs of trainings in several processes, which sends a signal."""

import os
import select
import signal
import time
from contextlib import contextmanager

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SignalHook(Hook):
    """Send one to a process, or to the one that started it, in a step counted from 1.

    The step ends when the process has got its signal, also where its parent hands it on. What is
    saved then takes ``saving_s`` seconds more.
    """

    def __init__(self, step, rank, number, parent, saving_s=0):
        self.step, self.rank, self.number, self.parent = step, rank, number, parent
        self.saving_s = saving_s

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.iter + 1, get_rank()) == (self.step, self.rank):
            with waiting_for_a_signal():
                os.kill(os.getppid() if self.parent else os.getpid(), self.number)

    def before_save_checkpoint(self, runner, checkpoint):
        if 'interruption' in checkpoint:
            time.sleep(self.saving_s)


@contextmanager
def waiting_for_a_signal(timeout_s=60):
    """Wait at the end of the context until one has come."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer)
    try:
        yield
        assert select.select([reader], [], [], timeout_s)[0], 'no signal came'
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
