"""Which keys of a config something reads: a misspelled one would change nothing, silently."""

import contextlib
import functools
import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, FrozenSet, Iterator, Mapping, Optional, Set, Tuple

from ..core.environment import SCOPES
from ..core.errors import UsageError
from .building import below, nearest

if TYPE_CHECKING:
    from mmengine.config import Config

_Key = Tuple[str, ...]
#: What is read of the top of a config beside the arguments of mmengine's runners: by the
#: runners, the toolboxes' inferencers and tools, and those of this project.
_TOP = (
    *('sync_bn', 'model_wrapper_cfg', 'find_unused_parameters', 'compile', 'strategy'),
    *('efficient_conv_bn_eval', 'activation_checkpointing', 'runner_type', 'tta_model'),
    *('tta_pipeline', 'channels_last', 'export_size'),
)
#: Parts without a type whose keys are documented, rather than arguments of something.
_DOCUMENTED: Dict[_Key, Tuple[str, ...]] = {
    ('env_cfg',): ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    ('env_cfg', 'mp_cfg'): ('mp_start_method', 'opencv_num_threads'),
    ('env_cfg', 'dist_cfg'): (
        *('backend', 'init_backend', 'port'),  # and what torch's init_process_group takes
        *('init_method', 'timeout', 'world_size', 'rank', 'store', 'group_name', 'pg_options'),
        'device_id',
    ),
    ('auto_scale_lr',): ('enable', 'base_batch_size'),
    ('default_hooks',): (
        *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'),
    ),
}
#: The type that mmengine gives a part without one.
_USUAL_TYPES: Dict[_Key, str] = {
    ('optim_wrapper',): 'OptimWrapper',
    ('val_cfg',): 'ValLoop',
    ('test_cfg',): 'TestLoop',
    ('log_processor',): 'LogProcessor',
}
#: What is read of a part beside the arguments of its type, by the last word of its key.
_BESIDE: Dict[str, Tuple[str, ...]] = {
    'optim_wrapper': (
        *('optimizer', 'constructor', 'params_constructor', 'paramwise_cfg'),
        *('loss_scale', 'dtype', 'use_fsdp'),  # of the type that --amp gives it later
    ),
    'norm_cfg': ('requires_grad',),
    'init_cfg': ('override', 'layer'),
}
_ALWAYS = ('_delete_', '_scope_', 'type')
#: Parts whose keys are names of a model's parameters, or the beginnings of them.
_NAMES = ('custom_keys',)
#: Parts with hooks, of which each may have a priority.
_HOOKS = ('default_hooks', 'custom_hooks')


def refuse_unknown_keys(
    before: 'Config', after: 'Config', options: Mapping[str, Any], name: str
) -> None:
    """Raise if options set keys that nothing reads.

    A key is known if the config had it; if its part has a ``type`` that takes it; if mmengine's
    runner or a tool reads it; and in other parts, such as a model's ``test_cfg``, if some module
    of the toolbox mentions it.

    Args:
        before: The config without the options.
        after: The config with them.
        options: Dotted keys to values.
        name: What the user called the config.

    Raises:
        UsageError: It lists them, each with the nearest that there are.
    """
    wrong: Dict[str, str] = {}
    for option, value in options.items():
        for key in _leaves(tuple(option.split('.')), value):
            found = _fault(before, after, key)
            if found:
                wrong.setdefault('.'.join(key), found)
    if wrong:
        lines = [f'--cfg-options {key}: {what}' for key, what in wrong.items()]
        lines.append(f'Keys of {name} that code of your own reads go with --allow-new-keys.')
        raise UsageError('\n'.join(lines))


def _leaves(key: _Key, value: Any) -> Iterator[_Key]:
    """The keys that an option sets; its value may be a dict."""
    if isinstance(value, dict) and value and not {'_delete_', 'type'} & {*value}:
        for name, child in value.items():
            yield from _leaves((*key, str(name)), child)
    else:
        yield key


def _fault(before: 'Config', after: 'Config', key: _Key) -> str:
    """What is wrong with a key; nothing, if something reads it."""
    old: Any = before._cfg_dict
    new: Any = after._cfg_dict
    for place, word in enumerate(key):
        if isinstance(new, (list, tuple)):  # merging has looked at the index
            if not word.isdigit() or int(word) >= len(new):
                return ''
            new = new[int(word)]
            inside = isinstance(old, (list, tuple)) and int(word) < len(old)
            old = old[int(word)] if inside else None
            continue
        where = key[:place]
        if word in _ALWAYS or not isinstance(new, dict) or (where and where[-1] in _NAMES):
            return ''
        was = isinstance(old, dict) and word in old
        if place == 0 and was and word not in _top():
            return f'nothing reads it once the config is loaded{_copies(before, word)}'
        hook = where == ('default_hooks',) and isinstance(new[word], dict) and 'type' in new[word]
        if not was and not hook:
            scope = str(after.get('default_scope'))
            known = _known(where, new, scope)
            if known is None and isinstance(old, dict) and old:
                known = None if word in _words(scope) else frozenset(map(str, old))
            if known is not None and word not in known:
                part = f'in {".".join(where)}' if where else 'at the top of a config'
                return f'nothing reads {word!r} {part}{_meant(before, key, place, known)}'
        new, old = new.get(word), old.get(word) if isinstance(old, dict) else None
    return ''


def _meant(cfg: 'Config', key: _Key, place: int, known: FrozenSet[str]) -> str:
    last = key[-1]
    elsewhere = [path for path, part in below(cfg.to_dict(), '') if path and last in part]
    return (
        nearest(key[place], known, 0.8)
        or _listed('; did you mean ', elsewhere, f'.{last}')
        or nearest(key[place], known)
    )


def _copies(cfg: 'Config', word: str) -> str:
    """Where the value of a helper of a config went."""
    plain = cfg.to_dict()
    value = plain[word]
    places = []
    for path, part in below({k: v for k, v in plain.items() if k in _top()}, ''):
        places += [f'{path}.{k}' for k, v in part.items() if path and v == value]
    return _listed(': set ', places if value not in (None, True, False, {}, []) else [])


def _listed(start: str, words: Any, end: str = '') -> str:
    if not words:
        return ''
    more = f' and {len(words) - 3} more' if len(words) > 3 else ''
    return start + ', '.join(f'{word}{end}' for word in words[:3]) + more


def _known(where: _Key, node: Mapping[str, Any], scope: str) -> Optional[FrozenSet[str]]:
    """The keys of a part; ``None`` if that cannot be told, or if it takes any."""
    from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
    from torch.utils.data import DataLoader

    last = where[-1] if where else ''
    beside = ('priority',) if len(where) == 2 and where[0] in _HOOKS else _BESIDE.get(last, ())
    if not where:
        return _top()
    if where in _DOCUMENTED:
        return frozenset(_DOCUMENTED[where])
    if len(where) == 1 and last.endswith('_dataloader'):
        extra = ('num_batch_per_epoch', 'disable_subprocess_warning')
        return _together(_arguments(DataLoader), extra)
    if where == ('randomness',):
        return _arguments(Runner.set_randomness)
    if where == ('optim_wrapper', 'clip_grad'):
        return _clipping(node)
    if where == ('train_cfg',) and 'type' not in node:
        loop = EpochBasedTrainLoop if node.get('by_epoch') else IterBasedTrainLoop
        return _together(_arguments(loop), ('by_epoch',))
    kind = node.get('type') or _USUAL_TYPES.get(where)
    if kind is None:
        return None
    if kind == 'CheckpointHook':  # it hands on what it does not know, when it saves
        from mmengine.hooks import CheckpointHook

        named = set(inspect.signature(CheckpointHook).parameters) - {'kwargs'}
        return _together(_arguments(Runner.save_checkpoint), named.union(beside))
    found = _classes(kind, scope)
    known = [_arguments(cls) for cls in found]
    if not known or None in known:
        return None
    return _together(frozenset().union(*known), beside)  # type: ignore[arg-type]


def _together(first: Optional[FrozenSet[str]], second: Any) -> Optional[FrozenSet[str]]:
    return None if first is None else first.union(second)


@functools.cache
def _top() -> FrozenSet[str]:
    from mmengine.runner import Runner
    from mmengine.runner._flexible_runner import FlexibleRunner

    known: Set[str] = set(_TOP)
    for runner in (Runner, FlexibleRunner):
        known |= _arguments(runner) or set()
    return frozenset(known)


def _arguments(function: Any) -> Optional[FrozenSet[str]]:
    """Names of the arguments; ``None`` if it takes any."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return frozenset(parameters) - {'self'}


def _clipping(node: Mapping[str, Any]) -> Optional[FrozenSet[str]]:
    from torch.nn import utils

    kind = node.get('type', 'norm')
    functions = {'norm': utils.clip_grad_norm_, 'value': utils.clip_grad_value_}
    if kind == 'agc':
        from ..optim.adaptive_clip import adaptive_clip_grad_

        return _together(_arguments(adaptive_clip_grad_), ('exclude',))
    return _arguments(functions[kind]) if kind in functions else None


def _classes(kind: Any, scope: str) -> Tuple[Any, ...]:
    """What the registries build for a type."""
    if not isinstance(kind, str):
        return (kind,)
    from mmengine.registry import Registry, root

    prefix = kind.partition('.')[0] if '.' in kind else scope
    for package in {prefix, scope} & {*SCOPES, 'tinyvim_mm'}:
        with contextlib.suppress(ImportError):  # said when something is built of it
            importlib.import_module(f'{package}.registry')
    found = []
    for registry in vars(root).values():
        if isinstance(registry, Registry):
            try:
                found.append(registry.children.get(scope, registry).get(kind))
            except (RuntimeError, ImportError):  # how some versions say that they do not know it
                continue
    return tuple(cls for cls in dict.fromkeys(found) if cls is not None)


@functools.cache
def _words(scope: str) -> FrozenSet[str]:
    """Attributes, strings and keywords in the modules of a toolbox, of its bases and of this."""
    found: Set[str] = set()
    for package in ('mmengine', 'mmcv', 'tinyvim_mm', *{scope}.intersection(SCOPES)):
        folder = Path(str(importlib.import_module(package).__file__)).parent
        for file in folder.rglob('*.py'):
            if not {'.mim', 'configs'} & {*file.relative_to(folder).parts}:
                text = file.read_text('utf-8', errors='replace')
                found.update(re.findall(r'(?<=[\'".])\w+\b|\b\w+(?==)', text))
    return frozenset(found)
