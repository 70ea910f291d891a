"""Networks in timm's registry: ``import tinyvim_mm.integrations.timm``, then ``timm.create_model``.

There are ``tinyvim_s``, ``mobilemamba_t2`` and all others of
:func:`tinyvim_mm.models.catalogue.network_names` that this module has a page of settings for, as
classifiers and, with ``features_only=True``, as feature extractors. Their maps are the raw ones of
the stages; norms that detectors and segmentors put behind them are part of the backbones.

``checkpoint_path`` takes files of the release and of this project: classifiers, and for feature
extractors detectors and segmentors too.
"""

import functools
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from torch import Tensor, nn

from ..core import compat, environment

compat.apply()  # timm imports torchvision
environment.require('timm', purpose='tinyvim_mm.integrations.timm')

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # noqa: E402
from timm.models import _factory, build_model_with_cfg, generate_default_cfgs, register_model  # noqa: E402
from timm.models._features import FeatureGetterNet, feature_take_indices  # noqa: E402

from ..conversion.keys import BACKBONE, project_keys  # noqa: E402
from ..models import DistillationClassifier  # noqa: E402
from ..models.catalogue import build_network, find_network  # noqa: E402
from ..weights.files import (  # noqa: E402
    account_keys,
    extract_state_dict,
    load_file,
    training_state_allowed,
)

_Indices = Union[int, Sequence[int], None]


class _Head(DistillationClassifier):
    """May be without linear layers; re-parameterisation then leaves the norm as it is."""

    def fuse_parts(self) -> None:
        if self.head is not None:
            super().fuse_parts()


class BackboneClassifier(nn.Module):
    """A backbone and its classifier with the interface of timm's models.

    Its keys are those of this project's classifiers for mmpretrain.

    Args:
        network: See :func:`tinyvim_mm.models.catalogue.network_names`.
        num_classes: Classes; 0 leaves the linear layers out.
        in_chans: Channels of the image.
        global_pool: ``'avg'``, or ``''`` for maps in place of logits.
        drop_rate: Dropout before the linear layers.
        distillation: Whether there is a second linear layer, see
            :meth:`set_distilled_training`; ``None`` takes what was published.
        backbone: Other arguments of the backbone, such as ``drop_path_rate``.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        network: str = 'tinyvim_b',
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        distillation: Optional[bool] = None,
        **backbone: Any,
    ) -> None:
        super().__init__()
        self.backbone = build_network(
            network, in_channels=in_chans, normalize_outputs=False, **backbone
        )
        widths, strides = self.backbone.embed_dims, self.backbone.strides
        self.num_features = self.head_hidden_size = widths[-1]
        self.feature_info = [
            {'num_chs': width, 'reduction': stride, 'module': f'{BACKBONE}stages.{i}'}
            for i, (width, stride) in enumerate(zip(widths, strides, strict=True))
        ]
        self.head_options = {k: v for k, v in self.backbone.classifier.items() if k != 'type'}
        if distillation is not None:
            self.head_options['distillation'] = distillation
        self.head = _Head(widths[-1], max(num_classes, 1), **self.head_options)
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
        """Map of the last stage, ``(batch, num_features, h, w)``.

        It is normalised, unless the classifier's norm comes after the pooling.
        """
        x = self.backbone(x)[-1]
        return x if self.head.norm_after_pool else self.head.norm(x)

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
        if pooled:
            layers = self.head.label_logits, self.head.teacher_logits
        elif self.head.norm_after_pool:
            raise ValueError("global_pool='' does not go with a classifier that pools, then norms")
        else:
            x = x.movedim(1, -1)
            layers = self.head.head, self.head.dist_head
        logits = layers[0](x)
        if self.head.dist_head is not None:
            distilled = layers[1](x)
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
        fresh = DistillationClassifier(self.num_features, num_classes, **self.head_options)
        fresh = fresh.to(like.device, like.dtype)
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


class BackboneFeatures(FeatureGetterNet):
    """timm's feature extractor around a :class:`BackboneClassifier`; it loads the same files."""

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As :meth:`BackboneClassifier.load_state_dict`; heads are left aside."""
        own = {key.removeprefix('model.'): value for key, value in state_dict.items()}
        aside = ((rf'(?!{BACKBONE})', 'no part of the features'),)
        return _load(self.model, own, strict, assign, aside)


def _load(
    model: BackboneClassifier,
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
    """From the keys of any checkpoint of a backbone here to those of :class:`BackboneClassifier`.

    Args:
        state_dict: As timm reads it from a file.
        model: Ignored; timm passes it.

    Raises:
        CheckpointError: It holds none, or a part of one.
    """
    del model
    return project_keys(extract_state_dict(state_dict, 'the checkpoint'), 'the checkpoint')


#: By the beginning of the networks' names: what timm wants to know of a paper, and its recipe.
_PAPERS: Dict[str, Dict[str, Any]] = {
    'tinyvim': {
        'crop_pct': 0.9,
        'paper_ids': 'arXiv:2411.17473',
        'paper_name': 'TinyViM: Frequency Decoupling for Tiny Hybrid Vision Mamba',
    },
    'mobilemamba': {
        'crop_pct': 0.875,
        'paper_ids': 'arXiv:2411.15941',
        'paper_name': 'MobileMamba: Lightweight Multi-Receptive Visual Mamba Network',
    },
}
#: Height and width of the images that a network was trained with.
_SIZES = {
    **{f'tinyvim_{arch}': 224 for arch in 'sbl'},
    **{'mobilemamba_t2': 192, 'mobilemamba_t4': 192, 'mobilemamba_s6': 224},
    **{'mobilemamba_b1': 256, 'mobilemamba_b2': 384, 'mobilemamba_b4': 512},
}


def _cfg(name: str) -> Dict[str, Any]:
    cls, _ = find_network(name)
    size, grid = _SIZES[name], -(-_SIZES[name] // cls.strides[-1])
    second = cls.classifier.get('distillation', True)
    return {
        'url': '',
        'num_classes': 1000,
        'input_size': (3, size, size),
        'min_input_size': (3, cls.min_size, cls.min_size),
        'pool_size': (grid, grid),
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'backbone.stem.0.conv',
        'classifier': ('head.head', 'head.dist_head') if second else 'head.head',
        **_PAPERS[name.partition('_')[0]],
    }


default_cfgs = generate_default_cfgs({name: _cfg(name) for name in _SIZES})


def _create(name: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    sources = [kwargs.get('pretrained_cfg'), kwargs.get('pretrained_cfg_overlay')]
    for source in sources if pretrained else ():
        file = source.get('file') if isinstance(source, Mapping) else getattr(source, 'file', None)
        if file:
            load_file(str(file))  # raises what timm would not notice
    if pretrained and not any(sources):
        raise RuntimeError(
            f'{name}: no weights are hosted for pretrained=True; give a file of the release or of '
            'this project with checkpoint_path=FILE'
        )
    stages = range(len(find_network(name)[0].strides))
    with training_state_allowed():
        return build_model_with_cfg(
            BackboneClassifier,
            name,
            pretrained,
            pretrained_filter_fn=translate,
            feature_cfg={'out_indices': tuple(stages), 'feature_cls': BackboneFeatures},
            network=name,
            **kwargs,
        )


def _looked_at(load_checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """What timm loads into networks of this project goes through :func:`load_file` before."""

    @functools.wraps(load_checkpoint)
    def load(model: nn.Module, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(model, (BackboneClassifier, BackboneFeatures)):
            return load_checkpoint(model, checkpoint_path, *args, **kwargs)
        load_file(str(checkpoint_path))
        with training_state_allowed():
            return load_checkpoint(model, checkpoint_path, *args, **kwargs)

    return load


# What create_model calls with checkpoint_path, of which the networks themselves never hear.
_factory.load_checkpoint = _looked_at(_factory.load_checkpoint)


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create(name, pretrained, **kwargs)

    # timm takes names and module of an entry from the function.
    create.__name__ = create.__qualname__ = name
    cls, arch = find_network(name)
    create.__doc__ = f'{cls.title(arch)} for images of {_SIZES[name]} pixels.'
    return register_model(create)


for _name in _SIZES:
    globals()[_name] = _entrypoint(_name)
