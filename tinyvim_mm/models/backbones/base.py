"""What all backbones share: frozen stages, checkpointing, weights, the deployed form."""

import contextlib
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.model.weight_init import PretrainedInit, update_init_info
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ...checkpoint import (
    CheckpointError,
    KeyRules,
    account_keys,
    extract_state_dict,
    load_file,
    translate_key,
)
from ...ops.tracing import is_compiling
from ..layers import ConvBN, RepDWConv, fuse_children
from ..reparameterize import Deployable
from .arguments import check_flag, check_integer


class StagedBackbone(Deployable, BaseModule):
    """A backbone with a stem and stages.

    Subclasses set the class attributes, fill ``stem`` and ``stages``, and call
    :meth:`freeze_stages` at the end of their ``__init__``.

    Args:
        num_stages: How many stages the architecture has.
        out_indices: Which stages' outputs are returned; negative ones count
            from the last. Stages after the last of them are not built.
        frozen_stages: -1 freezes nothing, 0 the stem, ``n`` the stem and the
            first ``n`` stages.
        norm_eval: Whether batch norms keep their statistics while training.
        with_cp: Whether blocks are checkpointed: their activations are computed
            again in the backward pass instead of being kept.
        init_cfg: mmengine's initialisation config. ``type='Pretrained'`` loads
            released weights and weights of this project alike, safely, and
            fails unless every key is accounted for.
    """

    #: From released keys to keys of this class.
    released_key_rules: KeyRules = ()
    #: (pattern, reason) of keys that a backbone knowingly does not use.
    keys_left_aside: Sequence[Tuple[str, str]] = ()
    #: Patterns of parameters that released weights need not hold.
    keys_that_may_be_fresh: Sequence[str] = ()

    stem: nn.Module
    stages: nn.ModuleList

    def __init__(
        self,
        num_stages: int,
        out_indices: Sequence[int],
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: Union[dict, List[dict], None] = None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_indices = _normalise_indices(out_indices, num_stages)
        check_flag('norm_eval', norm_eval)
        check_flag('with_cp', with_cp)
        check_integer('frozen_stages', frozen_stages)
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(
                f'frozen_stages must be between -1 (nothing) and {num_stages} (all), '
                f'got {frozen_stages}'
            )
        self.num_stages = self.out_indices[-1] + 1
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp

    # -- training mode ---------------------------------------------------------

    def freeze_stages(self) -> None:
        """Take the frozen part out of training."""
        if self.frozen_stages < 0:
            return
        for module in [self.stem, *self.stages[: self.frozen_stages]]:
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'StagedBackbone':
        super().train(mode)
        if mode:
            self.freeze_stages()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self

    def run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        """Apply a block, checkpointed if ``with_cp`` asks for it."""
        if not (self.with_cp and torch.is_grad_enabled()):
            return block(x)
        if is_compiling():
            return checkpoint(block, x, use_reentrant=False)
        return checkpoint(
            block,
            x,
            use_reentrant=False,
            context_fn=lambda: (contextlib.nullcontext(), _statistics_kept(block)),
        )

    # -- deployed form ---------------------------------------------------------

    def fuse_parts(self) -> None:
        """Fold the norms inside; those of the outputs stay."""
        fuse_children(self)

    def is_deployed_form(self, keys: Iterable[str]) -> Optional[bool]:
        keys = set(keys)
        if any('.bn.' in key for key in keys):
            return False
        groups = (n for n, m in self.named_modules() if isinstance(m, (ConvBN, RepDWConv)))
        return True if any(f'{name}.bias' in keys for name in groups) else None

    # -- released weights ------------------------------------------------------

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says.

        Raises:
            FileNotFoundError: The pretrained checkpoint does not exist.
            CheckpointError: It is damaged, unsafe, or does not fit this model.
        """
        configured = self.init_cfg
        cfgs = [configured] if isinstance(configured, dict) else list(configured or [])
        pretrained = [cfg for cfg in cfgs if cfg['type'] in ('Pretrained', PretrainedInit)]
        # mmengine's own PretrainedInit drops keys in silence and may unpickle code.
        self.init_cfg = [cfg for cfg in cfgs if cfg not in pretrained]
        self.init_cfg += [{**cfg, 'type': _AccountedInit} for cfg in pretrained]
        try:
            super().init_weights()
        finally:
            self.init_cfg = configured

    def load_pretrained(self, path: str, prefix: Optional[str] = None) -> None:
        """Fill this backbone from a checkpoint file and log what became of each key.

        Args:
            path: See :func:`tinyvim_mm.checkpoint.load_file`.
            prefix: Where the backbone's keys are in the file; ``None`` takes
                ``backbone.`` if there are such keys, else all.

        Raises:
            FileNotFoundError: The file does not exist.
            CheckpointError: It is damaged, unsafe, or does not fit this model.
        """
        name = type(self).__name__
        try:
            file = load_file(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{name}: pretrained {error}. Put the weights there, name another file with '
                '`--cfg-options model.backbone.init_cfg.checkpoint=PATH`, or train from random '
                'weights with `--cfg-options model.backbone.init_cfg=None`'
            ) from None
        state, others = _select_prefix(extract_state_dict(file, path), prefix, path)
        state = {translate_key(key, self.released_key_rules): v for key, v in state.items()}
        self.check_form(state, path)
        report = account_keys(
            self.state_dict(), state, self.keys_left_aside, self.keys_that_may_be_fresh
        )
        if others:
            report.aside['not of the backbone'].extend(others)
        if not report.fits:
            raise CheckpointError(
                f'{path} does not fit {self.describe()}.{self.recognise(state)}\n'
                + report.complaint()
            )
        self.load_state_dict({key: state[key] for key in report.used}, strict=False)
        print_log(f'{self.describe()} from {path}: {report.account()}', logger='current')

    def describe(self) -> str:
        """Name of this model in messages."""
        return type(self).__name__

    def recognise(self, state: Dict[str, Tensor]) -> str:
        """A sentence that says what a checkpoint that does not fit may be."""
        del state
        return ''

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        # Released keys are accepted wherever a state dict is loaded, so that
        # released detectors and segmentors load too.
        for key in [key for key in state_dict if key.startswith(prefix)]:
            own = prefix + translate_key(key[len(prefix) :], self.released_key_rules)
            if own != key:
                state_dict[own] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)


class _AccountedInit(PretrainedInit):
    """Loads a checkpoint through :meth:`StagedBackbone.load_pretrained`."""

    def __call__(self, module: StagedBackbone) -> None:
        module.load_pretrained(self.checkpoint, self.prefix)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())


@contextlib.contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Recompute a block without counting its batch statistics a second time."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    saved = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # With momentum 0 the running averages stay; the counter has no such
        # switch, so it is set aside.
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, saved, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


def _normalise_indices(out_indices: Sequence[int], num_stages: int) -> Tuple[int, ...]:
    allowed = f'{-num_stages}..{num_stages - 1}'
    if isinstance(out_indices, int):
        out_indices = (out_indices,)
    if not isinstance(out_indices, Sequence):
        raise TypeError(f'out_indices must be integers in {allowed}, got {out_indices!r}')
    result = []
    for index in out_indices:
        if not isinstance(index, int) or not -num_stages <= index < num_stages:
            raise ValueError(f'out_indices must be integers in {allowed}, got {out_indices!r}')
        result.append(index % num_stages)
    if not result or sorted(set(result)) != result:
        raise ValueError(f'out_indices must be ascending, at least one, got {out_indices!r}')
    return tuple(result)


def _select_prefix(
    state: Dict[str, Tensor], prefix: Optional[str], origin: str
) -> Tuple[Dict[str, Tensor], List[str]]:
    """Split a state dict into the part under ``prefix``, without it, and the other keys."""
    if prefix is None:
        prefix = 'backbone.' if any(key.startswith('backbone.') for key in state) else ''
    elif not prefix.endswith('.'):
        prefix += '.'
    inside = {key[len(prefix) :]: v for key, v in state.items() if key.startswith(prefix)}
    if not inside:
        tops = sorted({key.split('.')[0] for key in state})[:8]
        raise CheckpointError(
            f'{origin} has no keys under {prefix!r}; it has keys under {", ".join(tops)}'
        )
    return inside, [key for key in state if not key.startswith(prefix)]
