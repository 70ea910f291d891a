"""Settings that nothing can be done with, found before anything is built."""

import math
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping, Optional, Tuple

from ..core.environment import SCOPES
from ..core.errors import UsageError

if TYPE_CHECKING:
    from mmengine.config import Config

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
#: What kinds of values mmengine takes, beside ``None``.
_KINDS: Dict[str, Tuple[type, ...]] = {
    **dict.fromkeys(
        (
            *(*_LOADERS, 'model', 'train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper'),
            *('default_hooks', 'env_cfg', 'log_processor', 'randomness', 'visualizer'),
            *('auto_scale_lr', 'data_preprocessor', 'model_wrapper_cfg'),
        ),
        (dict,),
    ),
    **dict.fromkeys(('param_scheduler', 'val_evaluator', 'test_evaluator'), (dict, list, tuple)),
    'custom_hooks': (list, tuple),
    **{f'{loader}.{key}': (dict,) for loader in _LOADERS for key in ('dataset', 'sampler')},
    'optim_wrapper.optimizer': (dict,),
    'optim_wrapper.clip_grad': (dict,),
    'model.backbone': (dict,),
}
#: The least that makes sense, and whether it is a whole number; numpy's seeds have an end.
_LIMITS: Dict[str, Tuple[int, bool]] = {
    **{f'train_cfg.{key}': (1, True) for key in ('max_epochs', 'max_iters', 'val_interval')},
    **{f'{loader}.batch_size': (1, True) for loader in _LOADERS},
    **{f'{loader}.num_workers': (0, True) for loader in _LOADERS},
    'randomness.seed': (0, True),
    'auto_scale_lr.base_batch_size': (1, True),
    'log_processor.window_size': (1, True),
    'default_hooks.logger.interval': (1, True),
    'optim_wrapper.accumulative_counts': (1, True),
    'optim_wrapper.optimizer.lr': (0, False),
    'optim_wrapper.optimizer.weight_decay': (0, False),
    'optim_wrapper.clip_grad.max_norm': (0, False),
}
_LARGEST_SEED = 2**32 - 1
#: Where infinity has a meaning: the largest of all gradients.
_INFINITE = ('norm_type',)


def refuse_infinite(options: Optional[Mapping[str, Any]], source: str) -> None:
    """Raise if a number in the options, or in a part of a config, is infinite or no number.

    Raises:
        UsageError: It names the setting; the message begins with ``source``.
    """
    for key, value in options.items() if options else ():
        for name, number in _numbers(key, value):
            if not math.isfinite(number) and name.rpartition('.')[2] not in _INFINITE:
                raise UsageError(f'{source}: {name}={number} is not a finite number')


def _numbers(key: str, value: Any) -> Iterator[Tuple[str, float]]:
    if isinstance(value, float):
        yield key, value
    elif isinstance(value, dict):
        for name, child in value.items():
            yield from _numbers(f'{key}.{name}', child)
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            yield from _numbers(f'{key}.{index}', child)


def check_settings(cfg: 'Config', name: str) -> None:
    """Raise if a config, which the user called ``name``, has settings that cannot work.

    Raises:
        UsageError: It names the first, its value and what is wanted.
    """
    if not cfg.get('model'):
        raise UsageError(f'{name} has no model: model is {cfg.get("model")!r}')
    for key, kinds in _KINDS.items():
        value = _value(cfg, key)
        if value is not None and not isinstance(value, kinds):
            wanted = ' or '.join({dict: 'a dict', list: 'a list'}.get(kind, '') for kind in kinds)
            raise UsageError(f'{name}: {key} is {value!r}; it takes {wanted.removesuffix(" or ")}')
    scope = cfg.get('default_scope')
    if scope not in SCOPES:
        raise UsageError(f'{name}: default_scope is {scope!r}; it takes {", ".join(SCOPES)}')
    for key in ('optim_wrapper', 'param_scheduler'):
        refuse_infinite({key: cfg.get(key)}, name)
    for key, (least, whole) in _LIMITS.items():
        value = _value(cfg, key)
        most = _LARGEST_SEED if key.endswith('seed') else math.inf
        if value is None or isinstance(value, str):  # a string is refused where it is used
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not least <= value <= most or (whole and value % 1 != 0):
            kind = 'a whole number' if whole else 'a number'
            end = f' and at most {most}' if most < math.inf else ''
            raise UsageError(
                f'{name}: {key} is {value!r}; it takes {kind} of at least {least}{end}'
            )


def _value(cfg: Any, key: str) -> Any:
    for part in key.split('.'):
        cfg = cfg.get(part) if hasattr(cfg, 'get') else None
    return cfg
