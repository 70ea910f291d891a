"""What all backbones share: frozen stages, checkpointing, weights, the deployed form."""

import contextlib
import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.model.weight_init import PretrainedInit, update_init_info
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ...ops.tracing import is_compiling
from ...weights.files import (
    CheckpointError,
    KeyRules,
    account_keys,
    extract_state_dict,
    literal_rules,
    load_file,
    translate_key,
)
from ..layers import ConvBN, RepDWConv, fuse_children
from ..reparameterize import Deployable
from .arguments import check_flag, check_integer


class Stage(nn.Module):
    """Downsampling, unless it is the first stage, and blocks.

    Args:
        blocks: Blocks of one width.
        downsample: What halves the resolution before them.
    """

    def __init__(self, blocks: Sequence[nn.Module], downsample: Optional[nn.Module] = None) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)


class StagedBackbone(Deployable, BaseModule):
    """A backbone with a stem and stages.

    Subclasses set the class attributes and ``arch`` (``'custom'`` where it is no
    named one), fill ``stem``, ``stages`` with :class:`Stage` and ``out_norms``,
    and call :meth:`freeze_stages` at the end of their ``__init__``. Every one can
    be built with an architecture's name as its first argument and takes
    ``in_channels``, ``norm_cfg``, ``normalize_outputs`` and the arguments below;
    without ``out_indices`` it returns the outputs of all stages.

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

    #: Named architectures, with ``embed_dims`` among the settings of each.
    arch_settings: Dict[str, Dict[str, Any]] = {}
    #: Pixels of the image per position, of each stage's output.
    strides: Tuple[int, ...] = (4, 8, 16, 32)
    #: Smallest height and width of an image.
    min_size = 1
    #: Config of the classifier that is trained on top, but for the number of channels.
    classifier: Dict[str, Any] = {'type': 'tinyvim_mm.DistillationClassifier'}
    #: Parts of released keys and of this class's, from which both directions of a
    #: conversion come; see :func:`tinyvim_mm.weights.files.literal_rules`.
    released_key_pairs: Sequence[Tuple[str, str]] = ()
    #: From released keys to keys of this class.
    released_key_rules: KeyRules = ()
    #: Beginnings of the classifier's keys: released, and inside :attr:`classifier`.
    released_head_pairs: Sequence[Tuple[str, str]] = ()
    #: Patterns of parameters that released weights need not hold.
    keys_that_may_be_fresh: Sequence[str] = ()

    arch: str
    #: Width of each stage of the architecture.
    embed_dims: Tuple[int, ...]
    stem: nn.Module
    stages: nn.ModuleList
    #: Norms of the outputs by index of their stage; empty for raw outputs.
    out_norms: nn.ModuleDict

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

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Compute the feature maps.

        Args:
            x: ``(batch, in_channels, H, W)`` with ``H`` and ``W`` of at least
                :attr:`min_size`.

        Returns:
            One map per entry of ``out_indices``.

        Raises:
            ValueError: The input has not four axes or is smaller than that.
        """
        if x.dim() != 4 or x.shape[2] < self.min_size or x.shape[3] < self.min_size:
            raise ValueError(
                f'{self.describe()} takes (batch, channels, H, W) with H and W of at least '
                f'{self.min_size}, got {tuple(x.shape)}; resize or pad the images'
            )
        x = self.stem(x)
        outputs = []
        for i, stage in enumerate(self.stages):
            if stage.downsample is not None:
                x = stage.downsample(x)
            for block in stage.blocks:
                x = self.run_block(block, x)
            if i in self.out_indices:
                outputs.append(self.out_norms[str(i)](x) if self.out_norms else x)
        return tuple(outputs)

    # -- training mode ---------------------------------------------------------

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """Place of a parameter in the network, for layer-wise learning rate decay.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: What that name begins with inside this backbone.

        Returns:
            Depth and number of layers: 0 is the stem, then each block counts
            one, with the downsampling before it; the output norms and all that
            follows the backbone are the last layer.
        """
        blocks = [len(stage.blocks) for stage in self.stages]
        num_layers = sum(blocks) + 2
        part = param_name[len(prefix) :].split('.') if param_name.startswith(prefix) else ['']
        if part[0] == 'stem':
            return 0, num_layers
        if part[0] == 'stages':
            index = int(part[3]) if part[2] == 'blocks' else 0
            return sum(blocks[: int(part[1])]) + index + 1, num_layers
        return num_layers - 1, num_layers

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
            path: See :func:`tinyvim_mm.weights.files.load_file`.
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
        translated = self.translate(state, path)
        self.check_form(translated, path)
        report = account_keys(
            self.state_dict(), translated, self.keys_left_aside, self.keys_that_may_be_fresh
        )
        constants = len(state) - len(translated)
        state = translated
        if others:
            report.aside['not of the backbone'].extend(others)
        if not report.fits:
            raise CheckpointError(
                f'{path} does not fit {self.describe()}.{self.recognise(state)}\n'
                + report.complaint()
            )
        self.load_state_dict({key: state[key] for key in report.used}, strict=False)
        account = report.account()
        if constants:
            account += f'; {constants} constants of the network, as they should be'
        print_log(f'{self.describe()} from {path}: {account}', logger='current')

    @property
    def keys_left_aside(self) -> Tuple[Tuple[str, str], ...]:
        """(pattern, reason) of keys that this backbone knowingly does not use."""
        heads = '|'.join(re.escape(released) for released, _ in self.released_head_pairs)
        aside = [(heads, 'classifier')] if heads else []
        if not self.out_norms:
            aside.append((r'out_norms\.', 'outputs are not normalised here'))
        unused = [str(i) for i in range(len(self.embed_dims)) if i not in self.out_indices]
        if unused:
            aside.append((rf'out_norms\.({"|".join(unused)})\.', 'stage not in out_indices'))
        if self.num_stages < len(self.embed_dims):
            later = '|'.join(map(str, range(self.num_stages, len(self.embed_dims))))
            aside.append((rf'stages\.({later})\.', 'stage after the last of out_indices'))
        return tuple(aside)

    @classmethod
    def title(cls, arch: str) -> str:
        """Name of an architecture in messages: ``TinyViM-B``."""
        return f'{cls.__name__}-{arch if arch == "custom" else arch.upper()}'

    def describe(self) -> str:
        """Name of this model in messages."""
        return self.title(self.arch)

    def recognise(self, state: Mapping[str, Tensor]) -> str:
        """A sentence that says what a checkpoint that does not fit may be."""
        arch = self.find_arch(state)
        if arch is not None and not self.same_arch(arch, self.arch):
            return f" It holds {self.title(arch)}: build with arch='{arch}'."
        return '' if self.stage_widths(state) else f' It holds no {type(self).__name__}.'

    @classmethod
    def find_arch(cls, state: Mapping[str, Tensor]) -> Optional[str]:
        """The architecture whose widths a state dict with this class's keys has, if any."""
        found = cls.stage_widths(state)
        for arch, settings in cls.arch_settings.items():
            if found == tuple(settings['embed_dims']):
                return arch
        return None

    @classmethod
    def same_arch(cls, arch: str, other: str) -> bool:
        """Whether two names mean the same network; some differ in the size of images only."""
        settings = cls.arch_settings
        return arch == other or (
            arch in settings and other in settings and settings[arch] == settings[other]
        )

    @classmethod
    def stage_widths(cls, state: Mapping[str, Tensor]) -> Tuple[int, ...]:
        """Widths of the stages that a state dict with this class's keys holds."""
        raise NotImplementedError

    # -- names and constants of the release -------------------------------------

    @classmethod
    def released_constants(cls, state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
        """What released weights hold beside those of this class, and what always has one value.

        Args:
            state: Weights with this class's keys.

        Returns:
            Tensors by keys as :attr:`released_key_rules` translate them.
        """
        del state
        return {}

    @classmethod
    def translate(
        cls, state: Mapping[str, Tensor], origin: str = 'the checkpoint'
    ) -> Dict[str, Tensor]:
        """Give weights this class's keys, and leave the constants of the release out.

        Args:
            state: Keys of the release or of this class, without a prefix.
            origin: What to call it in an error.

        Raises:
            CheckpointError: A constant has another value: this is another network.
        """
        own = {translate_key(key, cls.released_key_rules): v for key, v in state.items()}
        for key, expected in cls.released_constants(own).items():
            value = own.pop(key, None)
            if value is None or value.is_meta:
                continue
            if value.shape != expected.shape or not torch.equal(value.float().cpu(), expected):
                raise CheckpointError(
                    f'{origin}: {key} has other values than a {cls.__name__}, in which it is a '
                    'constant; these weights belong to another network'
                )
        return own

    @classmethod
    def rules_to_released(cls, keys: Iterable[str]) -> KeyRules:
        """Rules from this class's keys to those of the release.

        Args:
            keys: All keys of the weights, with this class's names.
        """
        del keys
        return literal_rules((own, released) for released, own in cls.released_key_pairs)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        # Released keys are accepted wherever a state dict is loaded, so that
        # released detectors and segmentors load too.
        inside = [key for key in state_dict if key.startswith(prefix)]
        state = self.translate({key[len(prefix) :]: state_dict.pop(key) for key in inside})
        state_dict.update({prefix + key: value for key, value in state.items()})
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
