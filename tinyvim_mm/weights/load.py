"""The one way in which weights get into a model: read, look, account for every key, fill."""

import contextlib
import os
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple, Union

from torch import Tensor, nn

from ..core.errors import CheckpointError
from .files import Checkpoint, load_file, refuse_not_finite
from .keys import LoadReport, extract_state_dict

#: A path, an address, or what was read from one, or a state dict.
Source = Union[str, os.PathLike, Mapping[str, Any]]

#: What errors call weights that came from no file; modules, which know of no file, do so too.
_NAMELESS = 'the checkpoint'
_WRAPPED_BY_FSDP = '_fsdp_wrapped_module.'
# Of no use to any model: what older versions stored beside the weights.
_NO_WEIGHTS = (
    (r'data_preprocessor\.', 'normalization of the images, which the config gives'),
    (r'ema_', 'moving average of versions before mmengine, whose weights are the average'),
)
# Of a batch norm; no output depends on it, and torch itself makes up for its absence.
_STEPS_SEEN = 'num_batches_tracked'


@dataclass(frozen=True)
class Policy:
    """What a checkpoint need not fit, and how errors speak of the model.

    Attributes:
        name: What the model is called in errors.
        whole: Raise unless every tensor of the model comes from the checkpoint and every
            key there means something. Otherwise only another shape is an error.
        may_be_fresh: Patterns of the model's keys that may keep their initial values all
            the same.
        aside: (pattern, reason) of keys that are knowingly not used, beside those that
            parts of the model name as their ``keys_left_aside``.
        prefixes: Where the model's keys are: the first of these that any key begins with.
        outside: What the account says of keys that begin otherwise.
        finite: Refuse weights that are NaN or infinite.
        trust: Let a file execute code, see :func:`~.files.load_file`.
        fill: Fill the model; else only the report is made, and the caller fills it.
        recognize: Says what a checkpoint that does not fit may be, from its tensors and the
            report; a sentence with a space before it, or nothing.
        cure: What to do if it does not fit; ends the error.
    """

    name: str = 'the model'
    whole: bool = True
    may_be_fresh: Sequence[str] = ()
    aside: Sequence[Tuple[str, str]] = ()
    prefixes: Sequence[str] = ('',)
    outside: str = 'not of the model'
    finite: bool = True
    trust: bool = False
    fill: bool = True
    recognize: Callable[[Dict[str, Tensor], LoadReport], str] = lambda state, report: ''
    cure: str = ''


def load_into(
    model: nn.Module, source: Source, policy: Policy = Policy(), assign: bool = False
) -> LoadReport:
    """Fill a model from a checkpoint, with an account of every key.

    Modules translate keys of other layouts, as they do wherever a state dict is loaded
    (``_load_from_state_dict``). Those with an attribute ``keys_left_aside``, pairs of a
    pattern and a reason, name what they knowingly do not use.

    A model that the checkpoint does not fit is left as it was.

    Args:
        model: What is filled.
        source: Path, address (see :func:`~.files.load_file`), or what was read already: it
            is not read, nor searched for NaN, again.
        policy: What need not fit.
        assign: See :meth:`torch.nn.Module.load_state_dict`.

    Returns:
        What became of every key, under the names that the model has for them.

    Raises:
        CheckpointError: It holds no weights, is refused by a part of the model, has values
            that are not finite, or does not fit; :func:`~.files.load_file` names others.

    Example:
        >>> from torch import nn
        >>> from tinyvim_mm.weights import load_into
        >>> load_into(nn.Linear(2, 3), nn.Linear(2, 3).state_dict()).account()
        '2 tensors used; 0 fresh'
    """
    if isinstance(source, (str, os.PathLike)):
        source = load_file(os.fspath(source), trust=policy.trust, finite=policy.finite)
    origin = source.origin if isinstance(source, Checkpoint) else _NAMELESS
    state = extract_state_dict(source, origin)
    if policy.finite:
        refuse_not_finite(source, origin)
    state, others = _part(state, policy.prefixes, origin)
    try:
        report = _account(model, state, policy)
    except CheckpointError as error:  # of a module, which does not know the file
        text = str(error)
        if text.startswith(_NAMELESS):
            text = origin + text[len(_NAMELESS) :]
        elif origin not in text:
            text = f'{origin}: {text}'
        raise CheckpointError(text) from error
    if others:
        report.aside[policy.outside].extend(others)
    if (policy.whole and not report.fits) or (policy.fill and report.mismatched):
        hint = policy.recognize(state, report)
        message = f'{origin} does not fit {policy.name}.{hint}\n{report.complaint()}\n{policy.cure}'
        raise CheckpointError(message.rstrip())
    if policy.fill:
        # Classes that override the method come here from it.
        nn.Module.load_state_dict(model, state, strict=False, assign=assign)
    return report


def _part(
    state: Dict[str, Tensor], prefixes: Sequence[str], origin: str
) -> Tuple[Dict[str, Tensor], List[str]]:
    """Split a state dict into what is under a prefix, without it, and the other keys."""
    prefix = next((p for p in prefixes if any(key.startswith(p) for key in state)), None)
    if prefix == '':
        return state, []
    if prefix is None:
        tops = sorted({key.split('.')[0] for key in state})[:8]
        raise CheckpointError(
            f'{origin} has no keys under {prefixes[0]!r}; it has keys under {", ".join(tops)}'
        )
    inside = {key[len(prefix) :]: v for key, v in state.items() if key.startswith(prefix)}
    return inside, [key for key in state if not key.startswith(prefix)]


def _account(model: nn.Module, state: Mapping[str, Tensor], policy: Policy) -> LoadReport:
    """Go through a loading without its last step, in which torch copies values.

    Keys are as modules see them, after those of a release or older version are translated.
    """
    report = LoadReport()
    given = set(map(id, state.values()))
    found: List[Tuple[List[str], List[str]]] = []

    def look(module, state, prefix, metadata, strict, missing, unexpected, errors):
        # torch goes on filling the same two lists until the end.
        if not any(lists[0] is missing for lists in found):
            found.append((missing, unexpected))
        for name, own in _tensors_of(module):
            value = state.pop(prefix + name, None)  # so that there is nothing to copy
            if value is None or (name == _STEPS_SEEN and id(value) not in given):
                continue
            key = _plain(prefix + name)
            there, here = _shape_and_kind(value, own), tuple(own.shape)
            if there == here or (not here and there == (1,)):
                report.used.append(key)
            else:
                report.mismatched[key] = (there, here)

    with contextlib.ExitStack() as hooks:
        for module in model.modules():
            hook = module._register_load_state_dict_pre_hook(look, with_module=True)
            hooks.callback(hook.remove)
        nn.Module.load_state_dict(model, state, strict=False)
    seen = {*report.used, *report.mismatched}
    for key in (_plain(key) for missing, _ in found for key in missing):
        if key in seen:
            continue
        if any(re.match(pattern, key) for pattern in policy.may_be_fresh):
            report.fresh.append(key)
        elif not key.endswith(_STEPS_SEEN):
            report.missing.append(key)
    aside = [*policy.aside, *_NO_WEIGHTS, *_left_aside(model)]
    for key in (_plain(key) for _, unexpected in found for key in unexpected):
        reason = next((why for pattern, why in aside if re.match(pattern, key)), None)
        if reason is None:
            report.unknown.append(key)
        else:
            report.aside[reason].append(key)
    accounted = len(seen) + len(report.unknown) + sum(map(len, report.aside.values()))
    report.constants = max(len(state) - accounted, 0)
    return report


def _tensors_of(module: nn.Module) -> Iterator[Tuple[str, Tensor]]:
    """A module's own parameters and buffers, as far as a state dict holds them."""
    for name, value in {**module._parameters, **module._buffers}.items():
        if value is not None and name not in module._non_persistent_buffers_set:
            yield name, value


def _shape_and_kind(value: Any, own: Tensor) -> tuple:
    """Shape of what is to be copied into ``own``; with its type, where that cannot be meant.

    torch fills a parameter from whole numbers, such as quantized weights without their scale,
    or from complex ones, and says nothing; and cannot copy some layouts at all.
    """
    if not isinstance(value, Tensor):
        return ('no tensor',)
    shape = () if value.is_nested else tuple(value.shape)
    if value.dtype == own.dtype and value.layout == own.layout and not value.is_nested:
        return shape
    whole = own.is_floating_point() and not value.is_floating_point()
    if value.is_nested or value.is_quantized:
        kind = 'nested' if value.is_nested else 'quantized'
    elif value.layout != own.layout:
        kind = value.layout
    elif whole or value.is_complex() != own.is_complex() or 'float4' in str(value.dtype):
        kind = value.dtype
    else:
        return shape
    return (*shape, str(kind).replace('torch.', ''))


def _left_aside(model: nn.Module) -> Iterator[Tuple[str, str]]:
    """(pattern, reason) of keys that parts of a model knowingly do not use."""
    for name, module in model.named_modules():
        prefix = re.escape(_plain(f'{name}.')) if name else ''
        for pattern, why in getattr(module, 'keys_left_aside', ()):
            yield f'{prefix}({pattern})', why


def _plain(key: str) -> str:
    return key.replace(_WRAPPED_BY_FSDP, '')
