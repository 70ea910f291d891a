"""Checkpoints between the layouts of the releases and this project's.

The two differ in the names of keys, and in constants that some releases store, so
a conversion there and back gives the same tensors, bit for bit. The names of
backbone and classifier come from ``released_key_pairs`` and
``released_head_pairs`` of the backbone's class, which is found by its keys; what
surrounds it in other tasks is in :data:`TASK_PARTS`.
"""

import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Optional, Tuple, Type

import torch
from torch import Tensor

from ..models.backbones.base import StagedBackbone
from ..models.catalogue import BACKBONES
from ..version import __version__
from ..weights import safetensors_file
from ..weights.files import (
    WRAPPERS,
    CheckpointError,
    KeyRules,
    LoadReport,
    account_keys,
    extract_state_dict,
    file_sha256,
    load_file,
    translate_key,
    unwrap,
)

LAYOUTS = ('project', 'released')
SUFFIXES = ('.pth', '.pt', safetensors_file.SUFFIX)

#: What stands beside the backbone in each task but classification. These bear the
#: same names in mmdet 2 and 3, and in mmseg 0 and 1.
TASK_PARTS: Dict[str, Tuple[str, ...]] = {
    'detection': ('neck', 'rpn_head', 'roi_head', 'bbox_head', 'mask_head'),
    'segmentation': ('neck', 'decode_head', 'auxiliary_head'),
}
#: (pattern, reason) of keys that no layout has a use for.
DROPPED = (
    (r'ema_', 'moving average kept by mmcv 1.x beside the weights'),
    (r'data_preprocessor\.', 'constants that the config holds'),
)
_BACKBONE = 'backbone.'
_CLASSIFICATION = 'classification'
TASKS = (_CLASSIFICATION, *TASK_PARTS)

Backbone = Type[StagedBackbone]


@dataclass(frozen=True)
class KeyFate:
    """What became of one key of a file.

    Attributes:
        source: The key in the file.
        target: The key in the output, ``None`` if it was dropped.
        note: Why it was dropped, or shape and type.
    """

    source: str
    target: Optional[str]
    note: str

    @property
    def verb(self) -> str:
        if self.target is None:
            return 'dropped'
        return 'kept' if self.target == self.source else 'renamed'

    def __str__(self) -> str:
        arrow = f' -> {self.target}' if self.verb == 'renamed' else ''
        return f'{self.verb:8}{self.source}{arrow}  ({self.note})'


@dataclass
class Conversion:
    """A state dict in the layout asked for, and how it came about.

    Attributes:
        backbone: Class of the backbone.
        arch: Architecture, ``'custom'`` if keys were renamed without looking at shapes.
        task: Of :data:`TASKS`.
        source_layout: Layout found, of :data:`LAYOUTS`.
        target_layout: Layout of ``state``.
        fates: Every key of the file, in its order.
        state: The tensors.
        absent: Keys of the backbone that the file need not and does not hold.
        added: Keys of ``state`` that hold constants of the release, which no file of
            this project has.
        meta: What goes beside the tensors, plain values.
    """

    backbone: Backbone
    arch: str
    task: str
    source_layout: str
    target_layout: str
    fates: List[KeyFate] = field(default_factory=list)
    state: Dict[str, Tensor] = field(default_factory=dict)
    absent: List[str] = field(default_factory=list)
    added: List[str] = field(default_factory=list)
    meta: Dict[str, Any] = field(default_factory=dict)

    def account(self) -> str:
        """Every key in a line of its own."""
        lines = [str(fate) for fate in self.fates]
        lines += [f'absent  {key}  (not in the file, and not needed)' for key in self.absent]
        lines += [f'added   {key}  (constant of the release)' for key in self.added]
        return '\n'.join(lines)

    def summary(self) -> str:
        """Counts in one line."""
        counts = [
            f'{sum(fate.verb == verb for fate in self.fates)} {verb}'
            for verb in ('renamed', 'kept', 'dropped')
        ]
        return (
            f'{self.backbone.title(self.arch)}, {self.task}, from the {self.source_layout} to the '
            f'{self.target_layout} layout: {len(self.fates)} entries, {", ".join(counts)}'
        )


def convert(
    checkpoint: Any,
    origin: str,
    to: str = 'project',
    arch: str = 'auto',
    task: str = 'auto',
    keep_unknown: bool = False,
    backbone: Optional[Backbone] = None,
) -> Conversion:
    """Rename the keys of a checkpoint.

    Args:
        checkpoint: What :func:`~tinyvim_mm.weights.files.load_file` returns.
        origin: What to call it in an error.
        to: One of :data:`LAYOUTS`. A checkpoint that is in it already keeps its keys.
        arch: Key of the backbone's ``arch_settings``; ``'auto'`` recognises it;
            ``'custom'`` renames by name alone, as the ablations' networks need it.
        task: Of :data:`TASKS`, or ``'auto'``.
        keep_unknown: Whether keys that belong to no known part are kept as they
            are, rather than being an error.
        backbone: Class of the backbone; ``None`` recognises it by its keys.

    Raises:
        CheckpointError: The file holds no backbone of this project, mixes layouts, is incomplete,
            has shapes of no architecture or unknown keys; the message says which.
    """
    state = extract_state_dict(checkpoint, origin)
    prefix = _BACKBONE if any(key.startswith(_BACKBONE) for key in state) else ''
    cls = backbone
    if cls is None:
        keys = [key[len(prefix) :] for key in state if key.startswith(prefix)]
        cls = find_backbone(keys, origin)
    task = _find_task(cls, state, prefix, origin) if task == 'auto' else task
    parts = _parts(cls, task)

    def in_backbone(key: str) -> bool:
        if prefix:
            return key.startswith(prefix)
        return key.split('.')[0] not in parts and _dropped(key) is None

    inside = {key[len(prefix) :]: v for key, v in state.items() if in_backbone(key)}
    source = _find_layout(cls, inside, origin)
    own = cls.translate(inside, origin)
    constants = cls.released_constants(own)
    back = cls.rules_to_released(own)
    arch, report = _check_backbone(cls, own, arch, origin)
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
            known = key.split('.')[0] in parts
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
            f'{cls.__name__} for {task} ({", ".join(("backbone", *parts))}); --keep-unknown keeps '
            f'them under their names:{shown}'
        )
    _account_other_entries(checkpoint, conversion)
    conversion.meta.update(
        converted_by=f'tinyvim_mm {__version__}',
        layout=to,
        backbone=cls.__name__,
        arch=conversion.arch,
        task=task,
    )
    return conversion


def convert_file(path: Path, trust: bool = False, **arguments: Any) -> Conversion:
    """Read a file and convert it; name and SHA-256 of the file go into ``meta``.

    Args:
        path: A local file.
        trust: See :func:`~tinyvim_mm.weights.files.load_file`.
        **arguments: See :func:`convert`.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: See :func:`convert`.
    """
    file = load_file(str(path), trust=trust, finite=False)
    conversion = convert(file, str(path), **arguments)
    conversion.meta.update(source=path.name, source_sha256=file_sha256(path))
    return conversion


def save(conversion: Conversion, path: Path) -> None:
    """Write the output; a file that is there is replaced once the new one is whole.

    Args:
        conversion: What :func:`convert` returned.
        path: File with one of :data:`SUFFIXES`, which chooses the format.
    """
    partial = path.with_name(f'.{path.name}.partial')
    try:
        if path.suffix == safetensors_file.SUFFIX:
            safetensors_file.write(partial, conversion.state, conversion.meta)
        else:
            released_classifier = (conversion.task, conversion.target_layout) == (
                _CLASSIFICATION,
                'released',
            )
            wrapper = 'model' if released_classifier else 'state_dict'
            torch.save({'meta': conversion.meta, wrapper: conversion.state}, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@cache
def _key_forms(cls: Backbone) -> FrozenSet[str]:
    """Keys of a backbone with a sign in place of each number."""
    with torch.device('meta'):  # names are wanted, not values
        return frozenset(_form(key) for key in cls().state_dict())


def _form(key: str) -> str:
    return re.sub(r'\d+', '#', key)


def find_backbone(keys: Iterable[str], origin: str) -> Backbone:
    """The class to which most keys belong, in either layout.

    Args:
        keys: Of a state dict, without the prefix of the backbone; others may be among them.
        origin: What to call it in an error.

    Raises:
        CheckpointError: None of them belongs to any, or they may belong to several.
    """
    keys = list(keys)
    scores = {}
    for cls in BACKBONES.values():
        forms = [_form(translate_key(key, cls.released_key_rules)) for key in keys]
        scores[cls] = sum(form in _key_forms(cls) for form in forms)
    best = [cls for cls, score in scores.items() if score == max(scores.values())]
    if not max(scores.values()):
        raise CheckpointError(
            f'{origin} holds no {" or ".join(cls.__name__ for cls in scores)}; its keys begin with '
            f'{", ".join(sorted({key.split(".")[0] for key in keys})[:8]) or "nothing"}'
        )
    if len(best) > 1:
        raise CheckpointError(
            f'{origin} holds too little to tell whose it is: it could be of a '
            f'{" or a ".join(cls.__name__ for cls in best)}'
        )
    return best[0]


def _parts(cls: Backbone, task: str) -> Tuple[str, ...]:
    """Tops of the keys that stand beside the backbone, in both layouts."""
    if task != _CLASSIFICATION:
        return TASK_PARTS[task]
    released = [theirs.split('.')[0] for theirs, _ in cls.released_head_pairs]
    return tuple(dict.fromkeys([*released, 'head']))


def _find_task(cls: Backbone, state: Mapping[str, Tensor], prefix: str, origin: str) -> str:
    tops = {key.split('.')[0] for key in state}
    found = [
        task
        for task in TASKS
        if tops & (set(_parts(cls, task)) - {'neck'})  # of two tasks
    ]
    if len(found) == 1:
        return found[0]
    if not found and not prefix:
        return _CLASSIFICATION
    what = f'parts of {" and ".join(found)}' if found else 'no head'
    raise CheckpointError(
        f'{origin} has {what}, which does not tell its task; name it with --task {"|".join(TASKS)}'
    )


def _find_layout(cls: Backbone, keys: Iterable[str], origin: str) -> str:
    keys = list(keys)
    released = [k for k in keys if translate_key(k, cls.released_key_rules) != k]
    back = cls.rules_to_released(keys)
    project = [k for k in keys if translate_key(k, back) != k]
    if released and project:
        raise CheckpointError(
            f'{origin} mixes layouts: {released[0]} is a key of the release, {project[0]} one of '
            'this project'
        )
    return 'released' if released else 'project'


def _check_backbone(
    cls: Backbone, state: Mapping[str, Tensor], arch: str, origin: str
) -> Tuple[str, LoadReport]:
    """Hold a backbone in the project's layout against the architecture that it has."""
    with torch.device('meta'):  # names and shapes are wanted, not values
        if cls().is_deployed_form(state):
            raise CheckpointError(
                f'{origin} holds a re-parameterised {cls.__name__}, for which there is one layout '
                'only; convert the checkpoint that it was made from'
            )
        if arch == 'custom':
            return arch, LoadReport()
        found = cls.find_arch(state)
        if found is None:
            raise CheckpointError(
                f'{origin} has the widths of none of the architectures '
                f'({", ".join(cls.arch_settings)}); --arch custom converts by name alone'
            )
        arch = found if arch == 'auto' else arch
        if not cls.same_arch(arch, found):
            raise CheckpointError(f'{origin} holds {cls.title(found)}, not {cls.title(arch)}')
        normed = any(key.startswith('out_norms.') for key in state)
        model = cls(arch, **({'normalize_outputs': True} if normed else {}))
    report = account_keys(
        model.state_dict(), state, model.keys_left_aside, model.keys_that_may_be_fresh
    )
    if report.missing or report.mismatched:
        report.unknown = []  # there are other complaints first
        raise CheckpointError(
            f'{origin} does not hold the whole of {model.describe()} as released (--arch custom '
            f'converts what is there by name alone):\n{report.complaint()}'
        )
    return arch, report


def _backbone_key(own: str, back: KeyRules, task: str, to: str) -> str:
    """Key of the whole model, from the project's key of the backbone."""
    if to == 'project':
        return _BACKBONE + own
    # A released classifier has the backbone's parts at its top.
    prefix = '' if task == _CLASSIFICATION else _BACKBONE
    return prefix + translate_key(own, back)


def _part_key(cls: Backbone, key: str, task: str, source: str, to: str) -> Optional[str]:
    """Key of what stands beside the backbone; ``None`` if it is unknown."""
    if task != _CLASSIFICATION:
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
    """Names and colours of the classes, for the toolboxes' inference."""
    names = meta.get('dataset_meta') if isinstance(meta.get('dataset_meta'), Mapping) else meta
    lower = {str(key).lower(): value for key, value in names.items()}
    found = {
        key: lower[key] for key in ('classes', 'palette') if lower.get(key) and _plain(lower[key])
    }
    if not found:
        return {}
    if to == 'project':
        return {'dataset_meta': found}
    return {key.upper(): value for key, value in found.items()}


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return isinstance(value, (str, int))


def _describe(value: Tensor) -> str:
    shape = 'x'.join(map(str, value.shape)) or 'scalar'
    return f'{shape} {str(value.dtype).removeprefix("torch.")}'
