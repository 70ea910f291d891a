"""Checkpoints between the layouts of the releases and this project's.

The two differ in the names of keys, and in constants that some releases store, so
a conversion there and back gives the same tensors, bit for bit. The names of
backbone and classifier come from ``released_key_pairs`` and
``released_head_pairs`` of the backbone's class, which is found by its keys; what
surrounds it in other tasks is in :data:`~.recognition.TASK_PARTS`.
"""

import re
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from torch import Tensor

from ..core.errors import CheckpointError
from ..core.paths import file_sha256
from ..version import __version__
from ..weights.files import load_file
from ..weights.keys import WRAPPERS, KeyRules, data_set, extract_state_dict, translate_key, unwrap
from . import recognition
from .recognition import CLASSIFICATION, Backbone, find_backbone
from .result import Conversion, KeyFate

#: (pattern, reason) of keys that no layout has a use for.
DROPPED = (
    (r'ema_', 'moving average kept by mmcv 1.x beside the weights'),
    (r'data_preprocessor\.', 'constants that the config holds'),
)
BACKBONE = 'backbone.'


def convert(
    checkpoint: Any,
    origin: str,
    to: str = 'project',
    arch: str = 'auto',
    task: str = 'auto',
    keep_unknown: bool = False,
) -> Conversion:
    """Rename the keys of a checkpoint; one that is in the layout asked for keeps them.

    Args:
        checkpoint: What :func:`~tinyvim_mm.weights.files.load_file` returns.
        origin: What to call it in an error.
        to, arch, task, keep_unknown: See :func:`~.conversion.convert_checkpoint`.

    Raises:
        CheckpointError: The file holds no backbone of this project, mixes layouts, is incomplete,
            has shapes of no architecture or unknown keys; the message says which.
    """
    state = extract_state_dict(checkpoint, origin)
    prefix = BACKBONE if any(key.startswith(BACKBONE) for key in state) else ''
    keys = [key[len(prefix) :] for key in state if key.startswith(prefix)]
    cls = find_backbone(keys, origin)
    task = recognition.find_task(cls, state, prefix, origin) if task == 'auto' else task
    beside = recognition.parts(cls, task)

    def in_backbone(key: str) -> bool:
        if prefix:
            return key.startswith(prefix)
        return key.split('.')[0] not in beside and _dropped(key) is None

    inside = {key[len(prefix) :]: v for key, v in state.items() if in_backbone(key)}
    source = recognition.find_layout(cls, inside, origin)
    own = cls.translate(inside, origin)
    constants = cls.released_constants(own)
    back = cls.rules_to_released(own)
    arch, report = recognition.check_backbone(cls, own, arch, origin)
    aside = {key: why for why, keys in report.aside.items() for key in keys}

    conversion = Conversion(cls, arch, task, source, to, absent=report.fresh)
    unknown = []
    for key, value in state.items():
        if in_backbone(key):
            name = translate_key(key[len(prefix) :], cls.released_key_rules)
            reason = aside.get(name)
            if name in constants and to == 'project':
                reason = f'constant of every {cls.__name__}'
            target = None if name in report.unknown else _backbone_key(name, back, task, to)
        else:
            reason = _dropped(key)
            known = key.split('.')[0] in beside
            target = _part_key(cls, key, task, source, to) if known else None
        if reason:
            conversion.fates.append(KeyFate(key, None, reason))
            continue
        if target is None:
            unknown.append(key)
            target = key
        if target in conversion.state:
            raise CheckpointError(f'{origin}: two of its keys become {target}; it mixes layouts')
        conversion.fates.append(KeyFate(key, target, _describe(value)))
        # A copy: a view would drag the whole storage behind it into the file.
        conversion.state[target] = value.detach().clone()
    if to == 'released':
        for name, value in constants.items():
            target = _backbone_key(name, back, task, to)
            if target not in conversion.state:
                conversion.state[target] = value
                conversion.added.append(target)
    if unknown and not keep_unknown:
        shown = ''.join(f'\n  {key}' for key in unknown)
        raise CheckpointError(
            f'{origin} has {len(unknown)} keys that belong to no part of a '
            f'{cls.__name__} for {task} ({", ".join(("backbone", *beside))}); --keep-unknown keeps '
            f'them under their names:{shown}'
        )
    _account_other_entries(checkpoint, conversion)
    names = {'layout': to, 'backbone': cls.__name__, 'arch': arch, 'task': task}
    conversion.meta.update(converted_by=f'tinyvim_mm {__version__}', **names)
    return conversion


def convert_file(path: Path, trust: bool = False, **arguments: Any) -> Conversion:
    """Read a local file and :func:`convert` it; its name and SHA-256 go into ``meta``."""
    file = load_file(str(path), trust=trust, finite=False)
    conversion = convert(file, str(path), **arguments)
    conversion.meta.update(source=path.name, source_sha256=file_sha256(path))
    return conversion


def _backbone_key(own: str, back: KeyRules, task: str, to: str) -> str:
    """Key of the whole model, from the project's key of the backbone."""
    if to == 'project':
        return BACKBONE + own
    # A released classifier has the backbone's parts at its top.
    prefix = '' if task == CLASSIFICATION else BACKBONE
    return prefix + translate_key(own, back)


def _part_key(cls: Backbone, key: str, task: str, source: str, to: str) -> Optional[str]:
    """Key of what stands beside the backbone; ``None`` if it is unknown."""
    if task != CLASSIFICATION:
        return key
    for released, inside in cls.released_head_pairs:
        project = f'head.{inside}'
        old, new = (released, project) if source == 'released' else (project, released)
        if key.startswith(old):
            return key if source == to else new + key[len(old) :]
    return None


def _dropped(key: str) -> Optional[str]:
    return next((why for pattern, why in DROPPED if re.match(pattern, key)), None)


def _account_other_entries(checkpoint: Any, conversion: Conversion) -> None:
    """Account for what is not a tensor; of it, only the names of classes are kept."""
    state, others = unwrap(checkpoint)
    for key, value in state.items():
        if not isinstance(value, Tensor):
            conversion.fates.append(KeyFate(str(key), None, f'{type(value).__name__}, no tensor'))
    for key, value in others.items():
        note = 'weights before averaging' if key in WRAPPERS else 'not part of the network'
        if key == 'meta' and isinstance(value, Mapping):
            kept = _class_names(value, conversion.target_layout)
            conversion.meta.update(kept)
            if kept:
                note += f', but for the classes, which stay as meta[{next(iter(kept))!r}]'
        conversion.fates.append(KeyFate(str(key), None, note))


def _class_names(meta: Mapping[str, Any], to: str) -> Dict[str, Any]:
    """Names and colors of the classes, for the toolboxes' inference."""
    found = {key: value for key, value in data_set({'meta': meta}).items() if _plain(value)}
    if found and to == 'project':
        return {'dataset_meta': found}
    return {key.upper(): value for key, value in found.items()}


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return isinstance(value, (str, int))


def _describe(value: Tensor) -> str:
    shape = 'x'.join(map(str, value.shape)) or 'scalar'
    return f'{shape} {str(value.dtype).removeprefix("torch.")}'
