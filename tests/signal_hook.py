"""A hook for configs of trainings in several processes, which sends a signal."""

import os

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SignalHook(Hook):
    """Send one to a process, or to the one that started it, in a step counted from 1."""

    def __init__(self, step, rank, number, parent):
        self.step, self.rank, self.number, self.parent = step, rank, number, parent

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.iter + 1, get_rank()) == (self.step, self.rank):
            os.kill(os.getppid() if self.parent else os.getpid(), self.number)
