"""Whether a checkpoint fits what it is loaded into; mmengine only logs what does not."""

import contextlib
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Tuple

from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner.checkpoint import load_state_dict
from torch import Tensor, nn

from ..conversion.keys import BACKBONE
from ..conversion.layouts import find_backbone
from ..models.backbones.base import StagedBackbone
from ..weights.files import CheckpointError, LoadReport, extract_state_dict, refuse_not_finite

if TYPE_CHECKING:
    from mmengine.runner import Runner

_WRAPPED_BY_FSDP = '_fsdp_wrapped_module.'
# Of no use to any model: what older versions stored beside the weights.
_NO_WEIGHTS = (
    (r'data_preprocessor\.', 'normalisation of the images, which the config gives'),
    (r'ema_', 'moving average of versions before mmengine, whose weights are the average'),
)
# Of a batch norm; no output depends on it, and torch itself makes up for its absence.
_STEPS_SEEN = 'num_batches_tracked'
_OTHER_CONFIG = 'Name the config that the file was trained with'
_BACKBONE_ONLY = (
    'weights of a backbone alone are where a training starts: '
    '--cfg-options model.backbone.init_cfg.checkpoint=FILE'
)


class FitHook(Hook):
    """Raise if a checkpoint does not fit the model, before any other hook uses it.

    A checkpoint to evaluate, and one to resume, has to hold every tensor of the
    model and no other. One that a training starts from (``load_from``) may fit in
    part, since heads change with the data; then the log says what was not loaded.

    Args:
        partial: Whether it may fit in part, unless the training is resumed.
    """

    # Before the hook of moving averages, which loads the same file.
    priority = 'HIGHEST'

    def __init__(self, partial: bool) -> None:
        self.partial = partial

    def after_load_checkpoint(self, runner: 'Runner', checkpoint: Dict[str, Any]) -> None:
        """Look at what was read, and at what the model makes of it.

        Raises:
            CheckpointError: It does not fit, holds values that are not finite, or is to
                be resumed and is no state of a training.
        """
        resume = bool(getattr(runner, '_resume', False))
        file = str(getattr(runner, '_load_from', None) or 'the checkpoint')
        if not isinstance(checkpoint, Mapping) or 'state_dict' not in checkpoint:
            state = extract_state_dict(checkpoint, file)
            checkpoint['state_dict'] = state  # where mmengine and its hooks look for it
        _check_names(checkpoint['state_dict'], file)
        used = ('state_dict', 'ema_state_dict', 'optimizer') if resume else ('state_dict',)
        refuse_not_finite({key: checkpoint.get(key) for key in used}, file)
        if resume:
            _check_training_state(runner, checkpoint, file)
        _check_fit(runner, checkpoint, file, resume, self.partial and not resume)
        if resume:
            _check_average(runner, checkpoint, file)


@contextlib.contextmanager
def accounted(model: nn.Module) -> Iterator[LoadReport]:
    """Keep account of a state dict that is loaded into a model meanwhile, in whatever way.

    The account is of keys as the modules see them, after those that translate the
    keys of a release, or of an older version, have done so.

    Args:
        model: What is loaded into.

    Yields:
        The report, complete at the end.
    """
    report = LoadReport()
    found: List[Tuple[List[str], List[str]]] = []

    def look(module, state, prefix, metadata, strict, missing, unexpected, errors):
        # torch goes on filling the same two lists until the end.
        if not any(lists[0] is missing for lists in found):
            found.append((missing, unexpected))
        buffers = {
            name: value
            for name, value in module._buffers.items()
            if name not in module._non_persistent_buffers_set
        }
        for name, own in {**module._parameters, **buffers}.items():
            key = prefix + name
            if own is None or key not in state or name == _STEPS_SEEN:
                continue
            there, here = tuple(getattr(state[key], 'shape', ('no tensor',))), tuple(own.shape)
            if there == here or (not here and there == (1,)):
                report.used.append(_plain(key))
            else:
                report.mismatched[_plain(key)] = (there, here)

    hooks = [
        module._register_load_state_dict_pre_hook(look, with_module=True)
        for module in model.modules()
    ]
    try:
        yield report
    finally:
        for hook in hooks:
            hook.remove()
        aside = _left_aside(model)
        absent = (_plain(key) for missing, _ in found for key in missing)
        report.missing += [key for key in absent if not key.endswith(_STEPS_SEEN)]
        for key in (_plain(key) for _, unexpected in found for key in unexpected):
            reason = next((why for pattern, why in aside if re.match(pattern, key)), None)
            if reason is None:
                report.unknown.append(key)
            else:
                report.aside[reason].append(key)


def recognise(model: nn.Module, state: Mapping[str, Tensor], report: LoadReport) -> str:
    """A sentence that says what a checkpoint that does not fit may be; empty if nothing tells.

    Args:
        model: What it should have fitted.
        state: What the file holds.
        report: What did not fit.
    """
    own = getattr(model, 'backbone', None)
    if not isinstance(own, StagedBackbone):
        return ''
    backbone = backbone_part(state)
    try:
        other = find_backbone(backbone or state, 'the file')
        part = other.translate(backbone or dict(state))
    except CheckpointError:
        return '' if backbone else ' It holds no backbone.'
    if not isinstance(own, other):
        arch = other.find_arch(part)
        return f' It holds a {other.title(arch) if arch else other.__name__}.'
    sentence = own.recognise(part)
    if sentence:
        return sentence.split(': build with')[0].rstrip('.') + ': choose the config of its size.'
    if not backbone:
        return ' It holds a classifier in the layout of the release, or a backbone alone.'
    heads = [key for key in report.missing if not key.startswith(BACKBONE)]
    if heads and all(key.startswith(BACKBONE) for key in report.used):
        return ' It holds weights of the backbone, but none of the rest of this model.'
    return ''


def backbone_part(state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """What a state dict of a whole model holds of its backbone, without the prefix."""
    return {key[len(BACKBONE) :]: v for key, v in state.items() if key.startswith(BACKBONE)}


def _check_fit(
    runner: 'Runner', checkpoint: Dict[str, Any], file: str, resume: bool, partial: bool
) -> None:
    state = checkpoint['state_dict']
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    versions = getattr(state, '_metadata', None)  # of the modules, which may rename keys by them
    state = OrderedDict((re.sub(r'^module\.', '', key), value) for key, value in state.items())
    if versions is not None:
        state._metadata = versions
    try:
        with accounted(runner.model if hasattr(runner, 'strategy') else model) as report:
            if hasattr(runner, 'strategy'):  # of sharded parameters
                runner.strategy.load_model_state_dict(state, strict=False)
            else:
                load_state_dict(model, state, logger='silent')
    except CheckpointError as error:
        raise CheckpointError(f'{file}: {error}') from error
    except RuntimeError:
        # torch's own loading refuses other shapes, which the report names.
        if report.fits:
            raise
    if partial and report.used:
        if not report.fits:
            runner.logger.warning(
                f'{file} fits the model in part: {len(report.used)} tensors were loaded, the rest '
                f'of the model keeps its initial values. Not loaded:\n{report.complaint()}'
            )
        for key in report.mismatched:  # which a sharded model would not pass over
            checkpoint['state_dict'].pop(key, None)
        return
    if report.fits:
        runner.logger.info(f'{file}: {report.account()}')
        return
    target = model.module if hasattr(model, 'module') else model
    cures = {
        'test': f'{_OTHER_CONFIG}; {_BACKBONE_ONLY}',
        'resume': f'{_OTHER_CONFIG}, or start a new training with the weights that fit: '
        f'--cfg-options load_from={file}, without --resume',
        'start': f'Nothing of it can be loaded. {_OTHER_CONFIG}; {_BACKBONE_ONLY}',
    }
    purpose = 'resume' if resume else 'start' if partial else 'test'
    raise CheckpointError(
        f'{file} does not fit the model of the config ({type(target).__name__}), of which it '
        f'fills {len(report.used)} tensors.{recognise(target, state, report)}\n'
        f'{report.complaint()}\n{cures[purpose]}'
    )


def _check_names(state: Any, file: str) -> None:
    """Raise unless a state dict is one: tensors by name."""
    extract_state_dict(state, file)
    others = [
        str(key)
        for key, value in state.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if others:
        raise CheckpointError(
            f'{file}: {len(others)} entries of its state_dict are no tensors with a name: '
            f'{", ".join(others[:4])}'
        )


def _check_training_state(runner: 'Runner', checkpoint: Mapping[str, Any], file: str) -> None:
    """Raise unless a training can go on from a checkpoint as if it had not been stopped."""
    meta = checkpoint.get('meta') or {}
    wanted = ['optimizer', 'message_hub'] + ['param_schedulers'] * bool(
        runner.cfg.get('param_scheduler')
    )
    absent = [key for key in wanted if key not in checkpoint]
    absent += [f'meta.{key}' for key in ('epoch', 'iter') if key not in meta]
    if absent:
        raise CheckpointError(
            f'{file} cannot be resumed: it holds no {", ".join(absent)}. A best_*.pth, or a '
            'published file, holds weights alone. Name an epoch_*.pth or iter_*.pth, or start a '
            f'new training with these weights: --cfg-options load_from={file}, without --resume'
        )


def _check_average(runner: 'Runner', checkpoint: Mapping[str, Any], file: str) -> None:
    """Raise unless the moving average in a checkpoint is of the same model."""
    averaging = any(isinstance(hook, EMAHook) for hook in runner.hooks)
    average = checkpoint.get('ema_state_dict')
    if average is None:
        return
    if not averaging:
        runner.logger.warning(
            f'{file} was saved with a moving average of the weights (EMAHook), which this config '
            'has not: the training goes on from the average'
        )
        return
    shapes = {
        key[len('module.') :]: tuple(value.shape)
        for key, value in average.items()
        if key.startswith('module.')
    }
    expected = {key: tuple(value.shape) for key, value in checkpoint['state_dict'].items()}
    if shapes != expected:
        others = sorted(dict(shapes.items() ^ expected.items()))
        raise CheckpointError(
            f'{file} is damaged: the moving average in it (ema_state_dict) is of another model '
            f'than its weights, {len(others)} tensors differ: {", ".join(others[:4])}'
        )


def _left_aside(model: nn.Module) -> List[Tuple[str, str]]:
    """(pattern, reason) of keys that a model knowingly does not use."""
    aside = list(_NO_WEIGHTS)
    for name, module in model.named_modules():
        if isinstance(module, StagedBackbone):
            prefix = re.escape(_plain(f'{name}.')) if name else ''
            aside += [(prefix + f'({pattern})', why) for pattern, why in module.keys_left_aside]
    return aside


def _plain(key: str) -> str:
    return key.replace(_WRAPPED_BY_FSDP, '')
