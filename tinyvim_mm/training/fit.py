"""Refuse checkpoints that do not fit the model of a training or an evaluation.

mmengine loads what fits, and writes the rest into its log, so that a model that is half
random would be evaluated.
"""

from typing import Any, Dict, Mapping

from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from ..conversion.keys import recognize
from ..core.errors import CheckpointError
from ..weights.files import Checkpoint, refuse_not_finite
from ..weights.keys import extract_state_dict
from ..weights.load import Policy, load_into

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

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Raise CheckpointError also for values that are not finite, and half a training state."""
        resume = bool(getattr(runner, '_resume', False))
        file = str(getattr(runner, '_load_from', None) or 'the checkpoint')
        if not isinstance(checkpoint, Mapping) or 'state_dict' not in checkpoint:
            state = extract_state_dict(checkpoint, file)
            checkpoint['state_dict'] = state  # where mmengine and its hooks look for it
        _check_names(checkpoint['state_dict'], file)
        refuse_not_finite(checkpoint, file)
        if resume:
            others = ('ema_state_dict', 'optimizer')
            refuse_not_finite({key: checkpoint.get(key) for key in others}, file)
            _check_training_state(runner, checkpoint, file)
        _check_fit(runner, checkpoint, file, resume, self.partial and not resume)
        if resume:
            _check_average(runner, checkpoint, file)


def _check_fit(
    runner: Runner, checkpoint: Dict[str, Any], file: str, resume: bool, start: bool
) -> None:
    target = runner.model.module if is_model_wrapper(runner.model) else runner.model
    # What shards the parameters takes part in loading them.
    model = runner.model if hasattr(runner, 'strategy') else target
    source = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint, file)
    # mmengine fills the model after this; hooks may change the weights before.
    report = load_into(model, source, Policy(whole=False, finite=False, fill=False))
    if start and report.used:
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
    cures = {
        'test': f'{_OTHER_CONFIG}; {_BACKBONE_ONLY}',
        'resume': f'{_OTHER_CONFIG}, or start a new training with the weights that fit: '
        f'--cfg-options load_from={file}, without --resume',
        'start': f'Nothing of it can be loaded. {_OTHER_CONFIG}; {_BACKBONE_ONLY}',
    }
    hint = recognize(target, extract_state_dict(checkpoint, file), report)
    purpose = 'resume' if resume else 'start' if start else 'test'
    raise CheckpointError(
        f'{file} does not fit the model of the config ({type(target).__name__}), of which it '
        f'fills {len(report.used)} tensors.{hint}\n{report.complaint()}\n{cures[purpose]}'
    )


def _check_names(state: Any, file: str) -> None:
    """Raise unless a state dict is one: tensors by name."""
    extract_state_dict(state, file)
    others = [
        str(k) for k, v in state.items() if not (isinstance(k, str) and isinstance(v, Tensor))
    ]
    if others:
        raise CheckpointError(
            f'{file}: {len(others)} entries of its state_dict are no tensors with a name: '
            f'{", ".join(others[:4])}'
        )


def _check_training_state(runner: Runner, checkpoint: Mapping[str, Any], file: str) -> None:
    """Raise unless a training can go on from a checkpoint as if it had not been stopped."""
    meta = checkpoint.get('meta') or {}
    wanted = ['optimizer', 'message_hub']
    if runner.cfg.get('param_scheduler'):
        wanted.append('param_schedulers')
    absent = [key for key in wanted if key not in checkpoint]
    absent += [f'meta.{key}' for key in ('epoch', 'iter') if key not in meta]
    if absent:
        raise CheckpointError(
            f'{file} cannot be resumed: it holds no {", ".join(absent)}. A best_*.pth, or a '
            'published file, holds weights alone. Name an epoch_*.pth or iter_*.pth, or start a '
            f'new training with these weights: --cfg-options load_from={file}, without --resume'
        )


def _check_average(runner: Runner, checkpoint: Mapping[str, Any], file: str) -> None:
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
    prefix = 'module.'
    shapes = {k[len(prefix) :]: v.shape for k, v in average.items() if k.startswith(prefix)}
    expected = {key: value.shape for key, value in checkpoint['state_dict'].items()}
    if shapes != expected:
        others = sorted(dict(shapes.items() ^ expected.items()))
        raise CheckpointError(
            f'{file} is damaged: the moving average in it (ema_state_dict) is of another model '
            f'than its weights, {len(others)} tensors differ: {", ".join(others[:4])}'
        )
