"""Optimizer wrappers with adaptive gradient clipping, in mixed precision where possible."""

import logging
from functools import partial
from typing import List, Optional, Sequence, Tuple

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_CONSTRUCTORS
from torch import Tensor, nn

from ..core.devices import computes_in_bfloat16
from ..core.environment import accelerator
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS
from .adaptive_clip import adaptive_clip_grad_


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class RecipeOptimWrapperConstructor:
    """Builds any optimizer wrapper of mmengine, with two additions.

    - ``clip_grad=dict(type='agc', clip_factor=0.02)`` clips gradients adaptively,
      see :func:`adaptive_clip_grad_`, after the loss scale was taken out of
      them. Beside its arguments it takes ``exclude``: prefixes of parameters
      that are not clipped, by default none; that none begins with them is a warning.
      The method's authors leave out the last linear layer.
    - ``type='AmpOptimWrapper'`` becomes, on a machine without an accelerator, where
      mmengine has no mixed precision, :class:`.CPUAmpOptimWrapper`, or ``'OptimWrapper'``
      where the CPU does not compute in bfloat16.

    Args:
        optim_wrapper_cfg: As for mmengine's constructors. ``params_constructor``
            names the one that groups the parameters, such as mmpretrain's
            ``'LearningRateDecayOptimWrapperConstructor'``.
        paramwise_cfg: Handed on to it.

    Raises:
        TypeError: ``clip_grad`` has an unknown argument.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None) -> None:
        self.cfg = optim_wrapper_cfg.copy()
        self.paramwise_cfg = paramwise_cfg
        self.constructor = self.cfg.pop('params_constructor', 'DefaultOptimWrapperConstructor')
        clip_grad = self.cfg.get('clip_grad') or {}
        self.adaptive = dict(clip_grad) if clip_grad.get('type') == 'agc' else None
        self.exclude: Tuple[str, ...] = ()
        if self.adaptive is not None:
            del self.cfg['clip_grad']
            del self.adaptive['type']
            self.exclude = tuple(self.adaptive.pop('exclude', ()))
            adaptive_clip_grad_([], **self.adaptive)  # names an unknown argument at once

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for the parameters of a model."""
        if self.cfg.get('type') == 'AmpOptimWrapper' and accelerator() is None:
            fast = computes_in_bfloat16()
            self.cfg['type'] = 'tinyvim_mm.CPUAmpOptimWrapper' if fast else 'OptimWrapper'
            done = f'training in {"bfloat16" if fast else "single precision"} on the CPU'
            print_log(f'AmpOptimWrapper needs an accelerator: {done}', logger='current')
            for name in ('loss_scale', 'dtype', 'use_fsdp'):
                self.cfg.pop(name, None)
        cfgs = {'optim_wrapper_cfg': self.cfg, 'paramwise_cfg': self.paramwise_cfg}
        wrapper = MMENGINE_CONSTRUCTORS.build({'type': self.constructor, **cfgs})(model)
        if self.adaptive is not None:
            # mmengine's wrappers call clip_func(parameters, **clip_grad_kwargs)
            # between taking out the loss scale and the optimizer's step.
            wrapper.clip_func = partial(_clip_all_but, self._excluded(model))
            wrapper.clip_grad_kwargs = self.adaptive
        return wrapper

    def _excluded(self, model: nn.Module) -> List[Tensor]:
        model = model.module if is_model_wrapper(model) else model
        named = list(model.named_parameters())
        found = [value for name, value in named if name.startswith(self.exclude)]
        if self.exclude and not found:
            # No error: mmpretrain's vis_scheduler runs the schedule with a network of its own.
            print_log(
                f'clip_grad.exclude: no parameter of {type(model).__name__} begins with '
                + ' or '.join(map(repr, self.exclude))
                + '; all are clipped',
                logger='current',
                level=logging.WARNING,
            )
        return found


def _clip_all_but(excluded: Sequence[Tensor], parameters: Sequence[Tensor], **kwargs) -> None:
    spared = {id(parameter) for parameter in excluded}
    adaptive_clip_grad_([p for p in parameters if id(p) not in spared], **kwargs)
