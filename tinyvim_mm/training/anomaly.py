"""``--detect-anomaly``: which layer was the first to compute something that is not finite."""

from functools import partial
from typing import Any, Iterator, List, Tuple

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ..core.errors import UsageError

_MAX_SHOWN = 4


class AnomalyError(UsageError):
    """A layer computed NaN or infinity; the message says which, when, and from what."""


class AnomalyHook(Hook):
    """Stops a training at the first output or gradient that is not finite, and names its layer.

    All outputs of all modules are looked at while an iteration is trained, and
    the gradients that reach them and the parameters, in the order in which they
    are computed. Every look waits for the device, so that trainings become slower.

    Under a loss scaler (fp16) gradients overflow by design, and the scaler skips
    those steps: they are logged, and only outputs stop the training.
    """

    # Before hooks that could alter weights or batches.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._handles: List[Any] = []
        self._active = False
        self._batch: Any = None
        self._last_finite = 'the loss'
        self._reported_at = -1

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name, module in model.named_modules():
            hook = partial(self._check_output, runner, name)
            self._handles.append(module.register_forward_hook(hook, with_kwargs=True))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                hook = partial(self._check_gradient, runner, f'parameter {name}')
                self._handles.append(parameter.register_hook(hook))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._active, self._batch, self._last_finite = True, data_batch, 'the loss'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._active, self._batch = False, None

    def after_train(self, runner: Runner) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _check_output(
        self, runner: Runner, name: str, module: nn.Module, args: tuple, kwargs: dict, output: Any
    ) -> None:
        if not self._active:
            return
        for label, tensor in _tensors(output):
            place = f'{name or "the model"} ({type(module).__name__})'
            place += f', {label}' if label else ''
            if not tensor.isfinite().all():
                lines = [f'the output of {place} is not finite: {describe(tensor)}']
                lines += _origin(module, [*_tensors(args), *_tensors(kwargs)])
                raise AnomalyError(self._message(runner, lines))
            if tensor.requires_grad:
                hook = partial(self._check_gradient, runner, f'the output of {place}')
                tensor.register_hook(hook)

    def _check_gradient(self, runner: Runner, what: str, gradient: Tensor) -> None:
        if not self._active:
            return
        if gradient.isfinite().all():
            self._last_finite = what
            return
        lines = [
            f'the gradient of {what} is not finite: {describe(gradient)}',
            f'the last finite one before it, backwards from the loss: {self._last_finite}',
        ]
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        if scaler is None or not scaler.is_enabled():
            raise AnomalyError(self._message(runner, lines))
        if self._reported_at != runner.iter:  # the others of this step follow from it
            self._reported_at = runner.iter
            lines.append(f'loss scale: {scaler.get_scale():g}; the scaler skips this step')
            runner.logger.warning(self._message(runner, lines))

    def _message(self, runner: Runner, lines: List[str]) -> str:
        where = f'epoch {runner.epoch + 1}, iteration {runner.iter + 1}: '
        pictures = _pictures(self._batch)
        if pictures:
            lines.append(f'pictures of the batch: {", ".join(pictures)}')
        return where + '\n  '.join(lines)


def describe(tensor: Tensor) -> str:
    """Shape, type, number of NaN and infinities, and range of the rest."""
    values = tensor.detach()
    finite = values[values.isfinite()].double()
    nan, inf = int(values.isnan().sum()), int(values.isinf().sum())
    kind = str(tensor.dtype).removeprefix('torch.')
    text = f'{kind} {tuple(tensor.shape)}'
    if nan or inf:
        text += f', {nan} NaN and {inf} infinite of {values.numel()}'
    if not finite.numel():
        return text
    low, high, size = finite.min(), finite.max(), finite.abs().mean()
    rest = 'finite' if not (nan or inf) else 'the others'
    return f'{text}, {rest} from {low:.3g} to {high:.3g}, mean magnitude {size:.3g}'


def _origin(module: nn.Module, inputs: List[Tuple[str, Tensor]]) -> List[str]:
    """What the module computed from, and what that says."""
    lines = [f'input: {describe(tensor)}' for _, tensor in inputs[:_MAX_SHOWN]]
    damaged = [
        f'{key}: {describe(value)}'
        for key, value in [*module.named_parameters(), *module.named_buffers()]
        if value.is_floating_point() and not value.isfinite().all()
    ]
    if damaged:
        lines += [f'not finite in it: {text}' for text in damaged[:_MAX_SHOWN]]
        lines.append(
            'Its weights were damaged before: by the step of an earlier iteration (lower the '
            'learning rate, clip gradients) or in the checkpoint'
        )
    elif not all(tensor.isfinite().all() for _, tensor in inputs):
        lines.append(
            'Its input was not finite already: it comes from the data, or from an operation '
            'between modules'
        )
    else:
        lines.append(
            'It made this of finite input and finite weights: they are too large for its type, or '
            'it divides by zero'
        )
    return lines


def _tensors(value: Any, label: str = '') -> Iterator[Tuple[str, Tensor]]:
    """Floating tensors in nested sequences and mappings, with their keys or indices."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield label, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f'{label}[{key!r}]')
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _tensors(item, f'{label}[{i}]')


def _pictures(batch: Any) -> List[str]:
    """Paths of a batch of one of the toolboxes."""
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    if not isinstance(samples, (list, tuple)):
        return []
    paths = [getattr(sample, 'img_path', None) for sample in samples]
    return [str(path) for path in paths if path]
