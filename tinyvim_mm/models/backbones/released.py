"""Weights of a backbone: from a file, in the layout of the release or of this project."""

import re
from typing import Any, Dict, Iterable, Mapping, Optional, Sequence, Tuple, Type, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.model.weight_init import PretrainedInit, update_init_info
from torch import Tensor

from ...core.errors import CheckpointError
from ...weights.keys import KeyRules, literal_rules, translate_key
from ...weights.load import Policy, load_into
from ..reparameterization import Deployable
from .architecture import ArchSpec, read_arch


class ReleasedWeights(Deployable, BaseModule):
    """What a backbone knows about checkpoints of its architectures; subclasses set attributes."""

    #: Named architectures.
    arch_settings: Mapping[str, ArchSpec] = {}
    #: Gives an architecture that is a dict what the dict leaves open.
    arch_type: Type[ArchSpec] = ArchSpec
    #: Pixels of the image per position, of each stage's output.
    strides: Tuple[int, ...] = (4, 8, 16, 32)
    #: End of the key of a vector in the first block of a stage, whose length is the width of
    #: the stage; one for all stages, or one each.
    width_keys: Union[str, Tuple[str, ...]] = ''
    #: Parts of released keys and of this class's, from which both directions of a
    #: conversion come; see :func:`tinyvim_mm.weights.keys.literal_rules`.
    released_key_pairs: Sequence[Tuple[str, str]] = ()
    #: From released keys to keys of this class.
    released_key_rules: KeyRules = ()
    #: Beginnings of the classifier's keys: released, and inside its config.
    released_head_pairs: Sequence[Tuple[str, str]] = ()
    #: Patterns of parameters that released weights need not hold.
    keys_that_may_be_fresh: Sequence[str] = (r'out_norms\.',)

    # -- architectures -----------------------------------------------------------

    @classmethod
    def read_arch(cls, arch: Union[str, Mapping[str, Any]]) -> Tuple[str, ArchSpec]:
        """Name and numbers of an architecture, see :func:`.architecture.read_arch`."""
        return read_arch(arch, cls.arch_settings, cls.arch_type, len(cls.strides))

    @classmethod
    def title(cls, arch: str) -> str:
        """Name of an architecture in messages: ``TinyViM-B``."""
        return f'{cls.__name__}-{arch if arch == "custom" else arch.upper()}'

    def describe(self) -> str:
        """Name of this model in messages."""
        return self.title(self.arch)

    @classmethod
    def stage_widths(cls, state: Mapping[str, Tensor]) -> Tuple[int, ...]:
        """Widths of the stages that a state dict with this class's keys holds."""
        count, ends = len(cls.strides), cls.width_keys
        ends = (ends,) * count if isinstance(ends, str) else ends
        found = [state.get(f'stages.{i}.blocks.0.{end}') for i, end in enumerate(ends)]
        return tuple(len(value) for value in found if value is not None)

    @classmethod
    def find_arch(cls, state: Mapping[str, Tensor]) -> Optional[str]:
        """The architecture that a state dict with this class's keys holds, if any.

        Depths tell apart what has the same widths.
        """
        places = {tuple(key.split('.')[1:4]) for key in state if key.startswith('stages.')}
        stages = range(len(cls.strides))
        depths = tuple(sum(place[:2] == (str(i), 'blocks') for place in places) for i in stages)
        widths = cls.stage_widths(state)
        alike = {a: spec for a, spec in cls.arch_settings.items() if spec.embed_dims == widths}
        exact = [arch for arch, spec in alike.items() if spec.depths == depths]
        return next(iter(exact or (alike if len(set(alike.values())) == 1 else ())), None)

    @classmethod
    def same_arch(cls, arch: str, other: str) -> bool:
        """Whether two names mean the same network; some differ in the size of images only."""
        settings = cls.arch_settings
        return arch == other or (
            arch in settings and other in settings and settings[arch] == settings[other]
        )

    def recognize(self, state: Mapping[str, Tensor]) -> str:
        """A sentence that says what a checkpoint that does not fit may be."""
        arch = self.find_arch(state)
        if arch is not None and self.arch_settings[arch] != self.spec:
            return f" It holds {self.title(arch)}: build with arch='{arch}'."
        return '' if self.stage_widths(state) else f' It holds no {type(self).__name__}.'

    # -- loading -------------------------------------------------------------------

    def init_weights(self) -> None:
        """Initialize as ``init_cfg`` says; errors are those of :meth:`load_pretrained`."""
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
            path: See :func:`tinyvim_mm.weights.files.load_file`, for errors too.
            prefix: Where the backbone's keys are in the file; ``None`` takes
                ``backbone.`` if there are such keys, else all.
        """
        prefixes = ('backbone.', '') if prefix is None else (prefix.rstrip('.') + '.',)
        policy = Policy(
            name=self.describe(),
            may_be_fresh=self.keys_that_may_be_fresh,
            prefixes=prefixes,
            outside='not of the backbone',
            recognize=lambda state, _: self.recognize(self.translate(state)),
        )
        try:
            report = load_into(self, path, policy)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{type(self).__name__}: pretrained {error}. Put the weights there, name another '
                'file with `--cfg-options model.backbone.init_cfg.checkpoint=PATH`, or train from '
                'random weights with `--cfg-options model.backbone.init_cfg=None`'
            ) from None
        print_log(f'{self.describe()} from {path}: {report.account()}', logger='current')

    @property
    def keys_left_aside(self) -> Tuple[Tuple[str, str], ...]:
        """(pattern, reason) of keys that this backbone knowingly does not use."""
        heads = '|'.join(re.escape(released) for released, _ in self.released_head_pairs)
        aside = [(heads, 'classifier')] if heads else []
        if not self.out_norms:
            aside.append((r'out_norms\.', 'outputs are not normalized here'))
        unused = [str(i) for i in range(len(self.embed_dims)) if i not in self.out_indices]
        if unused:
            aside.append((rf'out_norms\.({"|".join(unused)})\.', 'stage not in out_indices'))
        if self.num_stages < len(self.embed_dims):
            later = '|'.join(map(str, range(self.num_stages, len(self.embed_dims))))
            aside.append((rf'stages\.({later})\.', 'stage after the last of out_indices'))
        return tuple(aside)

    # -- names and constants of the release -------------------------------------

    @classmethod
    def released_constants(cls, state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
        """What released weights hold beside those of this class, and what always has one value.

        From weights with this class's keys to tensors by keys as :attr:`released_key_rules`
        translate them.
        """
        del state
        return {}

    @classmethod
    def translate(
        cls, state: Mapping[str, Tensor], origin: str = 'the checkpoint'
    ) -> Dict[str, Tensor]:
        """Give weights without a prefix this class's keys, and leave the release's constants out.

        A constant of another value, in another network, is a CheckpointError.
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
        """Rules from this class's keys, all of which are given, to those of the release."""
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
    def __call__(self, module: ReleasedWeights) -> None:
        module.load_pretrained(self.checkpoint, self.prefix)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())
