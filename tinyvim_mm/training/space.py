"""Whether the disk has room for the checkpoints of a training, looked at before it starts."""

import math
from pathlib import Path
from typing import Any, Optional

import torch
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.runner import Runner

from ..core.errors import UsageError
from ..core.paths import shown
from .work_dir import free_bytes


def check_space(hook: CheckpointHook, runner: Runner) -> None:
    """Compare the free space with what a training will save; call it when its state is built.

    Raises:
        UsageError: There is no room for one checkpoint.
    """
    position, end = (
        (runner.epoch, runner.max_epochs) if hook.by_epoch else (runner.iter, runner.max_iters)
    )
    if '://' in str(hook.out_dir) or position >= end:
        return
    one, folder = checkpoint_bytes(runner, hook.save_optimizer), Path(hook.out_dir)
    saves = math.ceil((end - position) / hook.interval) if hook.interval > 0 else 1
    # A checkpoint is removed when the one after it is whole.
    at_once = min(saves, hook.max_keep_ckpts + 1) if hook.max_keep_ckpts > 0 else saves
    at_once += 2 * len(hook.key_indicators or ()) if hook.save_best else 0
    there = sum(file.stat().st_size for file in folder.glob('*.pth'))
    free = free_bytes(folder)
    if free is None:
        return
    size = f'a checkpoint of this training takes about {one / 1e6:,.1f} MB'
    room = f'{free / 1e6:,.1f} MB are free in {shown(folder)}'
    if free < one:
        raise UsageError(f'{size}, and {room}: make room, or name another --work-dir')
    if free < one * at_once - there:
        runner.logger.warning(
            f'{size}, up to {at_once} of them are kept (max_keep_ckpts={hook.max_keep_ckpts}), '
            f'and {room}: the training will end when the disk is full'
        )


def checkpoint_bytes(runner: Runner, with_optimizer: bool = True) -> int:
    """About the size of a checkpoint, without what mmengine notes of each step."""
    size = _bytes(runner.model.state_dict())
    averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    size += sum(_bytes(hook.ema_model.state_dict()) for hook in averages)
    optimizer: Optional[Any] = getattr(runner.optim_wrapper, 'optimizer', None)
    if optimizer is None or not with_optimizer:
        return size
    state = _bytes(list(optimizer.state.values()))
    if state:  # of a resumed training
        return size + state
    for group in optimizer.param_groups:
        # Most keep two averages of each gradient.
        each = bool(group.get('momentum')) if isinstance(optimizer, torch.optim.SGD) else 2
        size += each * _bytes(group['params'])
    return size


def _bytes(node: Any) -> int:
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        return sum(map(_bytes, node))
    return node.numel() * node.element_size() if isinstance(node, torch.Tensor) else 0
