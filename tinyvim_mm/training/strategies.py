"""``--strategy``: what shards the state of a training over its processes.

mmengine's Runner copies the model to every device (DDP); its FlexibleRunner takes a
strategy that shards gradients and the optimizer's state instead. The networks of
this project are small, so this pays where a recipe is given a large head or batch.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Iterator

from ..core import environment
from ..core.errors import MachineError, UsageError

if TYPE_CHECKING:
    from mmengine.config import Config

NAMES = ('ddp', 'fsdp', 'deepspeed')


def apply_strategy(cfg: 'Config', name: str) -> None:
    """Let mmengine's FlexibleRunner train a config with one of :data:`NAMES`.

    ``ddp`` is what Runner does. ``fsdp`` shards gradients and optimizer state with torch's
    FullyShardedDataParallel and writes ordinary checkpoints; ``deepspeed`` does it with ZeRO
    stage 2 and writes folders in DeepSpeed's layout.

    Args:
        cfg: Changed in place. Its launcher is set, see :func:`.prepare_launcher`.
        name: One of them.

    Raises:
        UsageError: Something in the config, or on this machine, is in the way.
    """
    if name == 'ddp':
        return
    obstacles, lacking = list(_obstacles(cfg, name)), list(_lacking(name))
    if obstacles or lacking:
        message = f'--strategy {name}: ' + '; '.join(obstacles + lacking)
        raise MachineError(message) if lacking else UsageError(message)
    _even_batches(cfg)
    if name == 'fsdp':
        from . import fsdp  # noqa: F401 - registers the strategy

        on_cpu = environment.accelerator() is None
        # Of parameters on a CPU there is nothing to move, and torch 2.13 crashes trying.
        states = dict(rank0_only=True, offload_to_cpu=not on_cpu)
        cfg.strategy = dict(
            type='ResumableFSDPStrategy',
            # One unit: the heads' methods are called past their forward, where
            # units of their own would not gather their parameters.
            model_wrapper=dict(
                type='MMFullyShardedDataParallel',
                sharding_strategy='SHARD_GRAD_OP',
                use_orig_params=True,
            ),
            state_dict_cfg=dict(
                state_dict_type='FULL_STATE_DICT',
                state_dict_config=dict(type='FullStateDictConfig', **states),
                optim_state_dict_config=dict(type='FullOptimStateDictConfig', **states),
            ),
            sync_bn=cfg.get('sync_bn'),
        )
        if on_cpu:
            cfg.strategy.model_wrapper.device_id = 'cpu'
    else:
        _use_deepspeed(cfg)


def _obstacles(cfg: 'Config', name: str) -> Iterator[str]:
    if cfg.launcher == 'none':
        yield (
            'it shards over the processes of a launcher: use tools/dist_train.sh or '
            'tools/slurm_train.sh'
        )
    if name == 'deepspeed' and cfg.get('sync_bn'):
        yield (
            'mmengine does not synchronize batch norms under DeepSpeed: '
            '--cfg-options sync_bn=None trains with plain ones'
        )
    clip = cfg.optim_wrapper.get('clip_grad') or {}
    # DeepSpeed clips the norm of all gradients by itself.
    if clip.get('type') == 'agc' or (clip and name == 'fsdp'):
        yield (
            'clipping needs whole gradients, and a process has a part of them: --cfg-options '
            'optim_wrapper.clip_grad=None leaves it out'
        )
    hooks = cfg.get('custom_hooks') or []
    if any(str(hook['type']).endswith('EMAHook') for hook in hooks):
        cure = '--cfg-options "custom_hooks=[]" leaves it out'
        if len(hooks) > 1:
            cure = 'leave it out of custom_hooks in a config that inherits from this one'
        yield f'EMAHook averages whole parameters: {cure}'


def _lacking(name: str) -> Iterator[str]:
    if name == 'deepspeed':
        if find_spec('deepspeed') is None:
            yield 'DeepSpeed is not installed: pip install deepspeed'
        if environment.accelerator() is None:
            yield 'DeepSpeed needs an accelerator; on a CPU --strategy fsdp works'


def _even_batches(cfg: 'Config') -> None:
    """Give all processes the same number of batches: each of them takes part in every forward.

    mmengine leaves out of the metrics what was repeated for it.
    """
    for split in ('val', 'test'):
        loader = cfg.get(f'{split}_dataloader') or {}
        if 'sampler' in loader:
            loader.sampler.round_up = True


def _use_deepspeed(cfg: 'Config') -> None:
    wrapper = cfg.optim_wrapper
    clip = wrapper.pop('clip_grad', None) or {}
    half = wrapper.get('type') == 'AmpOptimWrapper'
    for key in ('loss_scale', 'dtype'):
        wrapper.pop(key, None)
    wrapper.type = 'DeepSpeedOptimWrapper'
    cfg.strategy = dict(
        type='DeepSpeedStrategy',
        zero_optimization=dict(stage=2),
        bf16=dict(enabled=half),
        inputs_to_half=['inputs'] if half else [],
    )
    if clip:
        cfg.strategy.gradient_clipping = clip['max_norm']
