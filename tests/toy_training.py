"""A training of a toy network, in a process of its own that may be killed or interrupted."""

import multiprocessing
import os
import sys

import numpy as np
import small_training
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler, worker_init_fn
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from tool_runs import forget_runs
from torch.utils.data import DataLoader, Dataset

from tinyvim_mm.training.checkpoints import latest_checkpoint
from tinyvim_mm.training.hooks import EpochSeedHook, IterationSeedHook
from tinyvim_mm.training.interruption import InterruptionHook
from tinyvim_mm.training.not_finite import NotFiniteHook
from tinyvim_mm.training.runner import ToolRunner

EPOCHS, STEPS = 3, 4


class Toy(small_training.Toy):
    def forward(self, x, mode='tensor'):
        if mode == 'predict':
            return [dict(mean=self.layers(x).mean().item())]
        return super().forward(x, mode)


class Rows(Dataset):
    """Rows with noise that is drawn where they are loaded."""

    def __len__(self):
        return 4 * STEPS

    def __getitem__(self, index):
        noise = np.random.rand(3).astype(np.float32) + torch.rand(3).numpy()
        return dict(x=torch.full((3,), index / 10) + torch.from_numpy(noise))


class Mean(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return dict(mean=float(np.mean([result['mean'] for result in results])))


class Send(Hook):
    """Send signals to this process at one place of the training."""

    priority = 'NORMAL'

    def __init__(self, place, step, *numbers):
        self.place, self.step, self.numbers = place, step, numbers

    def _send(self, place, step):
        if (place, step) == (self.place, self.step):
            for number in self.numbers:
                os.kill(os.getpid(), number)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._send('step', runner.iter + 1)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._send('validation', runner.iter)


def make_runner(work_dir, by_epoch=True, workers=0, loop=None, wrapper=None, model=None):
    torch.set_num_threads(1)
    forget_runs()
    rows = Rows()
    sampler = DefaultSampler(rows, seed=0) if by_epoch else InfiniteSampler(rows, seed=0)
    loader = DataLoader(
        rows,
        batch_size=4,
        sampler=sampler,
        num_workers=workers,
        worker_init_fn=Seeded(workers) if workers else None,
    )
    start = latest_checkpoint(str(work_dir))
    steps = EPOCHS * STEPS
    lengths = dict(by_epoch=True, max_epochs=EPOCHS, val_interval=1)
    if not by_epoch:
        lengths = dict(by_epoch=False, max_iters=steps, val_interval=STEPS)
    return ToolRunner(
        model or Toy(),
        str(work_dir),
        train_dataloader=loader,
        val_dataloader=DataLoader(rows, batch_size=8, sampler=DefaultSampler(rows, shuffle=False)),
        train_cfg={**lengths, **(loop or {})},
        val_cfg=dict(),
        val_evaluator=Evaluator([Mean()]),
        optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01), **(wrapper or {})
        ),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=steps, by_epoch=False),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(
                type='CheckpointHook',
                by_epoch=by_epoch,
                interval=2 if by_epoch else 2 * STEPS,
                save_best='mean',
                rule='greater',
                max_keep_ckpts=1,
            ),
        ),
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
        randomness=dict(seed=0),
        load_from=start,
        resume=start is not None,
    )


class Seeded:
    """mmengine's, as Runner configures it."""

    def __init__(self, workers):
        self.workers = workers

    def __call__(self, worker):
        worker_init_fn(worker, self.workers, rank=0, seed=0)


def train(work_dir, send=None, by_epoch=True, command='python tools/train.py c', **settings):
    runner = make_runner(work_dir, by_epoch, **settings)
    runner.register_hook((EpochSeedHook if by_epoch else IterationSeedHook)(0))
    runner.register_hook(NotFiniteHook())
    interruption = InterruptionHook(command)
    if send:
        runner.register_hook(Send(*send))
    runner.register_hook(interruption)
    with interruption.watching():
        runner.train()


def in_a_process(output, *arguments, function=train, **settings):
    """Call a function in a fork, which has everything imported; its exit code, or ``1``."""

    def call():
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.stderr = os.fdopen(2, 'w', closefd=False)
        try:
            function(*arguments, **settings)
        except KeyboardInterrupt as end:
            os.write(2, f'{end}\n'.encode())
            sys.exit(end.exit_code)

    process = multiprocessing.get_context('fork').Process(target=call)
    process.start()
    process.join()
    return process.exitcode
