"""A training of a few numbers, with all that a recipe has: seconds for hundreds of runs."""

import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from tool_runs import forget_runs
from torch import nn
from torch.utils.data import DataLoader

from tinyvim_mm.training.checkpoints import latest_checkpoint
from tinyvim_mm.training.hooks import EpochSeedHook
from tinyvim_mm.training.runner import ToolRunner

EPOCHS, STEPS = 4, 3


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))

    def forward(self, x, mode='tensor'):
        # Noise, as augmentation has.
        return {'loss': self.layers(x + 0.1 * torch.randn_like(x)).square().mean()}


class Stop(Hook):
    """Calls a function with the runner after each step."""

    priority = 'LOWEST'

    def __init__(self, function):
        self.function = function

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.function(runner)


def train(work_dir, hooks=(), epochs=EPOCHS, until=None, **checkpoint):
    """Train, from the latest checkpoint if there is one; returns the runner.

    Args:
        work_dir: Its folder.
        hooks: More of them.
        epochs: Of the schedule.
        until: Last epoch of this run, as if it was interrupted.
        **checkpoint: Settings of the hook that saves.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)  # for the weights at the start
    forget_runs()
    data = torch.linspace(-1, 1, 36).reshape(12, 3)
    data_set = [dict(x=row) for row in data]
    loader = DataLoader(data_set, batch_size=4, sampler=DefaultSampler(data_set, seed=0))
    start, steps = latest_checkpoint(str(work_dir)), epochs * STEPS
    cfg = dict(default_scope='mmengine', train_cfg=dict(by_epoch=True, max_epochs=epochs))
    saving = {'type': 'CheckpointHook', 'interval': 1, 'max_keep_ckpts': 1, **checkpoint}
    runner = ToolRunner(
        Toy(),
        str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=until or epochs),
        optim_wrapper=dict(
            constructor='tinyvim_mm.RecipeOptimWrapperConstructor',
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=0.01),
            clip_grad=dict(type='agc', clip_factor=0.02),
        ),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=steps, end=steps, by_epoch=False),
        default_hooks=dict(checkpoint=saving, logger=dict(type='LoggerHook', interval=1)),
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
        randomness=dict(seed=0),
        load_from=start,
        resume=start is not None,
        cfg=Config(cfg),
    )
    for hook in (EpochSeedHook(0), *hooks):
        runner.register_hook(hook)
    runner.train()
    return runner
