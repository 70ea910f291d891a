"""A backbone and its classifier as timm wants its models; the entries are in :mod:`.timm`."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from timm.models._features import FeatureGetterNet, feature_take_indices
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from ..conversion.keys import BACKBONE, backbone_part, project_keys
from ..models.catalogue import build_network
from ..registry import MODELS
from ..weights.keys import extract_state_dict
from ..weights.load import Policy, load_into

_Indices = Union[int, Sequence[int], None]


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
            :meth:`set_distilled_training`; ``None`` takes what was published. The
            classifier of the VMambas knows none.
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
        self.head_cfg = dict(self.backbone.classifier)
        if distillation is not None:
            self.head_cfg['distillation'] = distillation
        self.head = self._new_head(max(num_classes, 1))
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

        It is normalized, unless the classifier's norm comes after the pooling.
        """
        x = self.backbone(x)[-1]
        return x if self.head.norm_after_pool else self.head.norm(x)

    def forward_head(
        self, x: Tensor, pre_logits: bool = False
    ) -> Union[Tensor, Tuple[Tensor, Tensor]]:
        """Pool what :meth:`forward_features` gives, and unless ``pre_logits`` classify it.

        Logits are ``(batch, num_classes)``, the mean of both linear layers; in training
        both, if :meth:`set_distilled_training` said so.
        """
        pooled = self.global_pool == 'avg'
        x = self.head_drop(x.mean((2, 3)) if pooled else x)
        if pre_logits or self.head.head is None:
            return x
        if not pooled:
            if self.head.norm_after_pool:
                raise ValueError(
                    "global_pool='' does not go with a classifier that pools, then norms"
                )
            x = x.movedim(1, -1)
        logits = self.head.label_logits(x) if pooled else self.head.head(x)
        if self.head.dist_head is not None:
            distilled = self.head.teacher_logits(x) if pooled else self.head.dist_head(x)
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
        """The final map and those of stages, or with ``intermediates_only`` the latter alone.

        Args:
            x: Images.
            indices: Stages; an integer means the last so many, ``None`` all.
            norm: Whether the last stage's map is normalized.
            stop_early: No effect; :meth:`prune_intermediate_layers` saves the work.
            output_fmt: ``'NCHW'``; another is a ValueError.
            intermediates_only: See above.
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
        """Put new linear layers in; arguments as in the constructor, ``None`` keeps the pooling."""
        if global_pool is not None:
            self._set_pool(global_pool)
        self.num_classes = num_classes
        if num_classes == 0:
            self.head.head = self.head.dist_head = None
            return
        like = next(self.backbone.parameters())
        fresh = self._new_head(num_classes).to(like.device, like.dtype)
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
        """Parameters that take no weight decay, beside those that timm leaves out by itself."""
        ends = self.backbone.spec.no_weight_decay
        return {name for name, _ in self.named_parameters() if name.endswith(ends)}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights in the layout of the release or of this project.

        Raises:
            CheckpointError: They are in no such layout, or do not fit.
        """
        return self._load(state_dict, strict, assign)

    def _load(
        self, state: Mapping[str, Any], strict: bool, assign: bool, aside: Sequence = ()
    ) -> Any:
        policy = Policy(
            name=f'this {self.backbone.describe()}',
            whole=strict,
            aside=aside,
            finite=False,  # of files it was searched for
            recognize=lambda state, _: self.backbone.recognize(backbone_part(state)),
        )
        report = load_into(self, translate(state), policy, assign)
        return _IncompatibleKeys(report.missing, report.unknown)

    def _new_head(self, num_classes: int) -> nn.Module:
        sizes = {'in_channels': self.num_features, 'num_classes': num_classes}
        return MODELS.build({**self.head_cfg, **sizes})

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
        return self.model._load(own, strict, assign, aside)


def translate(state_dict: Mapping[str, Any], model: Any = None) -> Dict[str, Tensor]:
    """From the keys of any checkpoint of a backbone here to those of :class:`BackboneClassifier`.

    timm passes the model, too. A checkpoint with a part of a backbone is a CheckpointError.
    """
    del model
    return project_keys(extract_state_dict(state_dict, 'the checkpoint'), 'the checkpoint')
