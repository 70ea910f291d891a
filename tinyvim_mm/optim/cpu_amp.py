"""Mixed precision on a CPU, where mmengine's own optimizer wrapper refuses to work."""

from contextlib import contextmanager
from typing import Any, Iterator

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ..registry import OPTIM_WRAPPERS

# What the heads of the toolboxes compute their losses by.
_LOSSES = ('loss', 'loss_by_feat', 'loss_and_target')
_MARK = '_tinyvim_mm_leaves_in_single_precision'


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Trains on a CPU in bfloat16 what torch's autocast holds to be safe, the rest in fp32.

    Weights, gradients and the optimizer's state stay fp32. bfloat16 has the range of fp32, so
    no loss is scaled.

    What a backbone, a neck or a head returns is turned to fp32 again. The toolboxes compute
    anchors, boxes and regions in the type of the maps, and the 8 bits of bfloat16 are too few
    for coordinates: from 256 pixels on it has even numbers only.

    Args:
        loss_scale, dtype, use_fsdp: Those of mmengine's AmpOptimWrapper, so that a config fits
            both. They change nothing here: the type is bfloat16.
        **kwargs: Of mmengine's OptimWrapper.
    """

    def __init__(
        self, loss_scale: Any = None, dtype: Any = None, use_fsdp: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of a forward pass of a model, which may be wrapped for several processes."""
        leave_in_single_precision(model)
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


def leave_in_single_precision(model: nn.Module) -> None:
    """Let the parts of a model return fp32 where they computed bfloat16; once for each part."""
    model = model.module if is_model_wrapper(model) else model
    for part in _parts(model):
        if not hasattr(part, _MARK):
            setattr(part, _MARK, part.register_forward_hook(_to_single_precision))


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    """Backbone, neck, heads, and the heads of which a head consists."""
    for part in model.children():
        yield part
        members = [m for child in part.children() for m in _members(child)]
        if any(hasattr(member, name) for member in members for name in _LOSSES):
            yield from members


def _members(module: nn.Module) -> Iterator[nn.Module]:
    # The stages of a cascade.
    yield from module if isinstance(module, nn.ModuleList) else (module,)


def _to_single_precision(module: nn.Module, inputs: Any, output: Any) -> Any:
    return _single(output)


def _single(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, dict):
        return type(value)((key, _single(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)) and not hasattr(value, '_fields'):
        return type(value)(map(_single, value))
    return value
