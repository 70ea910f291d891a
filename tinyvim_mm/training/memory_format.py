"""Channels-last memory: maps and kernels whose channels lie side by side.

On a CPU convolutions take it faster than torch's usual order, and on a GPU in mixed precision.
No value changes but for the rounding of sums in another order.
"""

import sys
import types
from functools import wraps
from typing import Any, Callable, Dict

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

#: Parts of a checkpoint with weights, which others read.
_WEIGHTS = ('state_dict', 'ema_state_dict')


def use_channels_last(model: nn.Module) -> nn.Module:
    """Lay a toolbox's model, and each batch that its preprocessor makes, out channels-last.

    Args:
        model: Changed in place. It has a ``data_preprocessor``, as those of the toolboxes.

    Returns:
        The model.
    """
    _mend_operators()
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = _channels_last(tensor.data)
    model.data_preprocessor.register_forward_hook(_lay_out)
    return model


def _channels_last(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value
    if isinstance(value, (list, tuple)):  # several views of the images
        return type(value)(map(_channels_last, value))
    return value


def _lay_out(preprocessor: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, dict) and 'inputs' in output:
        output['inputs'] = _channels_last(output['inputs'])
    return output


class PlainCheckpointHook(Hook):
    """Saves weights in torch's usual order, whatever they are trained in.

    Not every format and reader of weights takes another.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        for part in _WEIGHTS:
            state = checkpoint.get(part) or {}
            for key, value in state.items():
                if isinstance(value, Tensor):
                    state[key] = value.contiguous()


def _mend_operators() -> None:
    """Give mmcv's compiled operators contiguous tensors.

    They read the memory of maps in the usual order without asking for it: RoIAlign and
    modulated deformable convolution compute something else from a channels-last map, silently.
    """
    extension = sys.modules.get('mmcv._ext')  # loaded with the model that uses it
    for name, function in list(vars(extension).items()) if extension else ():
        # Those of a stand-in in Python, by torchvision, take any.
        if isinstance(function, types.BuiltinFunctionType):
            setattr(extension, name, _contiguous(function))


def _contiguous(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        copies = []

        def plain(value: Any) -> Any:
            if not isinstance(value, Tensor) or value.is_contiguous():
                return value
            copies.append((value, value.contiguous()))
            return copies[-1][1]

        with torch.no_grad():
            result = function(*map(plain, args), **{k: plain(v) for k, v in kwargs.items()})
            for given, copy in copies:
                # The operators write into some of their arguments, such as gradients of weights.
                if not torch.equal(given, copy):
                    given.copy_(copy)
        return result

    return call
