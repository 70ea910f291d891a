"""TinyViM in timm's registry: ``import tinyvim_mm.integrations.timm``, then ``timm.create_model``.

There are ``tinyvim_s``, ``tinyvim_b`` and ``tinyvim_l``, as classifiers and, with
``features_only=True``, as feature extractors whose maps have strides 4, 8, 16 and 32. These are
the raw maps of the stages; the batch norms that detectors and segmentors put behind them are
part of :class:`tinyvim_mm.models.TinyViM`.

``checkpoint_path`` takes files of the release and of this project: classifiers, and for feature
extractors detectors and segmentors too.
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from torch import Tensor, nn

from .. import compat, environment

compat.apply()  # timm imports torchvision
environment.require('timm', purpose='tinyvim_mm.integrations.timm')

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # noqa: E402
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model  # noqa: E402
from timm.models._features import FeatureGetterNet, feature_take_indices  # noqa: E402

from ..checkpoint import account_keys, allow_training_state, extract_state_dict  # noqa: E402
from ..models import DistillationClassifier, TinyViM  # noqa: E402
from .keys import BACKBONE, project_keys  # noqa: E402

_STRIDES = (4, 8, 16, 32)
_Indices = Union[int, Sequence[int], None]


class _Head(DistillationClassifier):
    """May be without linear layers; re-parameterisation then leaves the norm as it is."""

    def fuse_parts(self) -> None:
        if self.head is not None:
            super().fuse_parts()


class TinyViMClassifier(nn.Module):
    """TinyViM with the interface of timm's models.

    Its keys are those of this project's classifiers for mmpretrain.

    Args:
        arch: See :class:`tinyvim_mm.models.TinyViM`.
        num_classes: Classes; 0 leaves the linear layers out.
        in_chans: Channels of the image.
        global_pool: ``'avg'``, or ``''`` for maps in place of logits.
        drop_rate: Dropout before the linear layers.
        distillation: Whether there is a second linear layer, as in the release,
            see :meth:`set_distilled_training`.
        backbone: Other arguments of :class:`tinyvim_mm.models.TinyViM`, such as
            ``drop_path_rate``.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        arch: str = 'b',
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        distillation: bool = True,
        **backbone: Any,
    ) -> None:
        super().__init__()
        self.backbone = TinyViM(arch, in_channels=in_chans, normalize_outputs=False, **backbone)
        widths = self.backbone.embed_dims
        self.num_features = self.head_hidden_size = widths[-1]
        self.feature_info = [
            {'num_chs': width, 'reduction': stride, 'module': f'{BACKBONE}stages.{i}'}
            for i, (width, stride) in enumerate(zip(widths, _STRIDES, strict=True))
        ]
        self.head = _Head(widths[-1], max(num_classes, 1), distillation)
        self.head_drop = nn.Dropout(drop_rate)
        self.distilled_training = False
        if num_classes == 0:
            self.head.head = self.head.dist_head = None
        self.num_classes = num_classes
        self._set_pool(global_pool)

    def forward(self, x: Tensor) -> Union[Tensor, Tuple[Tensor, Tensor]]:
        """Classify images ``(batch, in_chans, H, W)``; see :meth:`forward_head`."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised map of the last stage, ``(batch, num_features, H / 32, W / 32)``."""
        return self.head.norm(self.backbone(x)[-1])

    def forward_head(
        self, x: Tensor, pre_logits: bool = False
    ) -> Union[Tensor, Tuple[Tensor, Tensor]]:
        """Pool and classify.

        Args:
            x: From :meth:`forward_features`.
            pre_logits: Whether to stop before the linear layers.

        Returns:
            Logits ``(batch, num_classes)``, the mean of both linear layers; in
            training both, if :meth:`set_distilled_training` said so.
        """
        pooled = self.global_pool == 'avg'
        x = self.head_drop(x.mean((2, 3)) if pooled else x)
        if pre_logits or self.head.head is None:
            return x
        if not pooled:
            x = x.movedim(1, -1)
        logits = self.head.head(x)
        if self.head.dist_head is not None:
            distilled = self.head.dist_head(x)
            if self.training and self.distilled_training:
                return logits, distilled
            logits = (logits + distilled) / 2
        return logits if pooled else logits.movedim(-1, 1)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: _Indices = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> Union[List[Tensor], Tuple[Tensor, List[Tensor]]]:
        """Maps of stages, and the final one.

        Args:
            x: Images.
            indices: Stages; an integer means the last so many, ``None`` all.
            norm: Whether the last stage's map is normalised.
            stop_early: No effect; :meth:`prune_intermediate_layers` saves the work.
            output_fmt: ``'NCHW'``.
            intermediates_only: Whether to return the list alone.

        Raises:
            ValueError: Another ``output_fmt``.
        """
        del stop_early
        if str(output_fmt) not in ('NCHW', 'Format.NCHW'):
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}")
        taken, _ = feature_take_indices(len(self.backbone.stages), indices)
        maps = list(self.backbone(x))
        complete = len(maps) == len(self.backbone.embed_dims)
        final = self.head.norm(maps[-1]) if complete and not intermediates_only else maps[-1]
        if norm and complete:
            maps[-1] = self.head.norm(maps[-1])
        chosen = [maps[i] for i in taken]
        return chosen if intermediates_only else (final, chosen)

    def prune_intermediate_layers(
        self, indices: _Indices = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> List[int]:
        """Drop what :meth:`forward_intermediates` does not need; see timm."""
        backbone = self.backbone
        taken, last = feature_take_indices(len(backbone.stages), indices)
        shortened = last < len(backbone.stages) - 1
        backbone.stages = backbone.stages[: last + 1]
        backbone.num_stages = last + 1
        backbone.out_indices = tuple(range(last + 1))
        if prune_norm or shortened:
            self.head.norm = nn.Identity()
        if prune_head or shortened:
            self.num_features = self.head_hidden_size = backbone.embed_dims[last]
            self.reset_classifier(0)
        return taken

    def get_classifier(self) -> Tuple[Optional[nn.Module], Optional[nn.Module]]:
        """The linear layers: that of the labels and that of the teacher."""
        return self.head.head, self.head.dist_head

    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """Put new linear layers in; with ``num_classes=0`` none.

        Args:
            num_classes: Classes.
            global_pool: As in the constructor; ``None`` keeps it.
        """
        if global_pool is not None:
            self._set_pool(global_pool)
        self.num_classes = num_classes
        if num_classes == 0:
            self.head.head = self.head.dist_head = None
            return
        like = next(self.backbone.parameters())
        fresh = DistillationClassifier(self.num_features, num_classes).to(like.device, like.dtype)
        self.head.head, self.head.dist_head = fresh.head, fresh.dist_head

    def set_distilled_training(self, enable: bool = True) -> None:
        """Let training return the logits of both linear layers."""
        self.distilled_training = enable

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Save memory by computing activations again in the backward pass."""
        self.backbone.with_cp = enable

    def group_matcher(self, coarse: bool = False) -> Dict[str, Any]:
        """Groups of parameters for layer-wise learning rate decay."""
        stage = r'^backbone\.stages\.(\d+)'
        blocks = [(rf'{stage}\.downsample', (0,)), (rf'{stage}\.blocks\.(\d+)', None)]
        return {
            'stem': r'^backbone\.stem',
            'blocks': stage if coarse else [*blocks, (r'^head\.norm', (99999,))],
        }

    def no_weight_decay(self) -> set:
        """Parameters of the scan that take no weight decay."""
        return {name for name, _ in self.named_parameters() if name.endswith(('A_logs', '.Ds'))}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights in the layout of the release or of this project.

        Raises:
            CheckpointError: They are in no such layout.
            RuntimeError: They do not fit.
        """
        return _load(self, state_dict, strict, assign, ())

    def _set_pool(self, global_pool: str) -> None:
        if global_pool not in ('avg', ''):
            raise ValueError(f"global_pool must be 'avg' or '', got {global_pool!r}")
        self.global_pool = global_pool


class TinyViMFeatures(FeatureGetterNet):
    """timm's feature extractor around a :class:`TinyViMClassifier`; it loads the same files."""

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As :meth:`TinyViMClassifier.load_state_dict`; heads are left aside."""
        own = {key.removeprefix('model.'): value for key, value in state_dict.items()}
        aside = ((rf'(?!{BACKBONE})', 'no part of the features'),)
        return _load(self.model, own, strict, assign, aside)


def _load(
    model: TinyViMClassifier,
    state_dict: Mapping[str, Any],
    strict: bool,
    assign: bool,
    aside: Sequence[Tuple[str, str]],
) -> Any:
    state = translate(state_dict)
    backbone = model.backbone
    aside = [*aside, *((BACKBONE + pattern, why) for pattern, why in backbone.keys_left_aside)]
    own = {k.removeprefix(BACKBONE): v for k, v in state.items() if k.startswith(BACKBONE)}
    backbone.check_form(own, 'the checkpoint')
    report = account_keys(model.state_dict(), state, aside)
    if strict and not report.fits:
        raise RuntimeError(
            f'the weights do not fit this {backbone.describe()}.{backbone.recognise(own)}\n'
            + report.complaint()
        )
    left = {key for keys in report.aside.values() for key in keys}
    wanted = {key: value for key, value in state.items() if key not in left}
    return nn.Module.load_state_dict(model, wanted, strict=False, assign=assign)


def translate(
    state_dict: Mapping[str, Any], model: Optional[nn.Module] = None
) -> Dict[str, Tensor]:
    """From the keys of any checkpoint of TinyViM to those of :class:`TinyViMClassifier`.

    Args:
        state_dict: As timm reads it from a file.
        model: Ignored; timm passes it.

    Raises:
        CheckpointError: It holds no TinyViM, or a part of one.
    """
    del model
    return project_keys(extract_state_dict(state_dict, 'the checkpoint'), 'the checkpoint')


def _cfg() -> Dict[str, Any]:
    return {
        'url': '',
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'min_input_size': (3, TinyViM.min_size, TinyViM.min_size),
        'pool_size': (7, 7),
        'crop_pct': 0.9,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'backbone.stem.0.conv',
        'classifier': ('head.head', 'head.dist_head'),
        'paper_ids': 'arXiv:2411.17473',
        'paper_name': 'TinyViM: Frequency Decoupling for Tiny Hybrid Vision Mamba',
    }


default_cfgs = generate_default_cfgs({f'tinyvim_{arch}': _cfg() for arch in TinyViM.arch_settings})


def _create(name: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    # timm reads checkpoint_path with weights_only after this. Not once for all: whoever
    # allows the same types for a while takes them back.
    allow_training_state()
    sources = [kwargs.get('pretrained_cfg'), kwargs.get('pretrained_cfg_overlay')]
    if pretrained and not any(sources):
        raise RuntimeError(
            f'{name}: no weights are hosted for pretrained=True; give a file of the release or of '
            'this project with checkpoint_path=FILE'
        )
    return build_model_with_cfg(
        TinyViMClassifier,
        name,
        pretrained,
        pretrained_filter_fn=translate,
        feature_cfg={'out_indices': (0, 1, 2, 3), 'feature_cls': TinyViMFeatures},
        arch=name.removeprefix('tinyvim_'),
        **kwargs,
    )


@register_model
def tinyvim_s(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """TinyViM-S, 5.9 M parameters with both linear layers."""
    return _create('tinyvim_s', pretrained, **kwargs)


@register_model
def tinyvim_b(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """TinyViM-B, 11.5 M parameters with both linear layers."""
    return _create('tinyvim_b', pretrained, **kwargs)


@register_model
def tinyvim_l(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """TinyViM-L, 32.4 M parameters with both linear layers."""
    return _create('tinyvim_l', pretrained, **kwargs)
