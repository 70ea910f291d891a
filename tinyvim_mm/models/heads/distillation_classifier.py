"""Classifier of one or two linear layers, the second for distillation."""

from typing import Iterable, Optional, Sequence, Tuple, Union

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import build_batch_norm
from ..layers.fuse import double, norm_as_affine
from ..layers.norm import run_part
from ..reparameterization import Deployable

#: A backbone's outputs, of which the last is classified, or that one, ``(batch, channels, H, W)``.
Features = Union[Tensor, Sequence[Tensor]]


@MODELS.register_module()
class DistillationClassifier(Deployable, BaseModule):
    """Batch normalization, global average pooling and one or two linear layers.

    With fixed statistics the order of normalization and pooling makes no
    difference; in training it does, since a batch of means varies less than a
    batch of pixels. TinyViM normalizes first, MobileMamba pools first.

    Takes the raw output of the last stage, that is of a backbone built with
    ``normalize_outputs=False``. The deployed form pools and has one linear layer,
    the mean of both with the normalization in it.

    Args:
        in_channels: Channels of the last stage.
        num_classes: Classes.
        distillation: Whether there is a second linear layer that learns from a
            teacher.
        norm_cfg, init_cfg: See :class:`.StagedBackbone`.
        norm_after_pool: Whether to pool first. Each linear layer then has a norm
            of its own.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int = 1000,
        distillation: bool = True,
        norm_cfg: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
        norm_after_pool: bool = False,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.norm_after_pool = norm_after_pool
        self.norm = build_batch_norm(norm_cfg, in_channels)
        self.head = nn.Linear(in_channels, num_classes)
        self.dist_norm = None
        if distillation and norm_after_pool:
            self.dist_norm = build_batch_norm(norm_cfg, in_channels)
        self.dist_head = nn.Linear(in_channels, num_classes) if distillation else None
        for linear in (self.head, self.dist_head):
            if linear is not None:
                nn.init.trunc_normal_(linear.weight, std=0.02)
                nn.init.zeros_(linear.bias)

    def pre_logits(self, feats: Features) -> Tensor:
        """Normalize, if that is to be done before, and pool: ``(batch, in_channels)``."""
        x = feats if isinstance(feats, Tensor) else feats[-1]
        if not self.norm_after_pool:
            x = run_part(self, 'norm', self.norm, x)
        return x.mean((2, 3))

    def label_logits(self, pooled: Tensor) -> Tensor:
        """Logits of the first layer, from what :meth:`pre_logits` gives."""
        return self.head(self._normalize(pooled, 'norm'))

    def teacher_logits(self, pooled: Tensor) -> Tensor:
        """Logits of the second layer, from what :meth:`pre_logits` gives."""
        return self.dist_head(self._normalize(pooled, 'dist_norm'))

    def _normalize(self, pooled: Tensor, name: str) -> Tensor:
        if not self.norm_after_pool:
            return pooled
        return run_part(self, name, getattr(self, name), pooled[..., None, None]).flatten(1)

    def forward(self, feats: Features) -> Union[Tensor, Tuple[Tensor, Tensor]]:
        """Logits ``(batch, num_classes)``; of two layers both in training, and else the mean."""
        pooled = self.pre_logits(feats)
        logits = self.label_logits(pooled)
        if self.dist_head is None:
            return logits
        distilled = self.teacher_logits(pooled)
        return (logits, distilled) if self.training else (logits + distilled) / 2

    def fuse_parts(self) -> None:
        """Fold norms and linear layers into one layer; without linear layers nothing folds."""
        if self.head is None:
            return
        pairs = [(self.norm, self.head)]
        if self.dist_head is not None:
            pairs.append((self.dist_norm or self.norm, self.dist_head))
        weight, bias = 0, 0
        for norm, linear in pairs:
            scale, shift = norm_as_affine(norm)
            own = double(linear.weight)
            weight = weight + own * scale / len(pairs)
            bias = bias + (double(linear.bias) + own @ shift) / len(pairs)
        fused = nn.Linear(self.head.in_features, self.head.out_features, device='meta')
        fused.weight = nn.Parameter(weight.to(self.head.weight))
        fused.bias = nn.Parameter(bias.to(self.head.bias))
        self.norm, self.head, self.dist_norm, self.dist_head = nn.Identity(), fused, None, None

    def is_deployed_form(self, keys: Iterable[str]) -> Optional[bool]:
        parts = {key.split('.')[0] for key in keys}
        return not parts & {'norm', 'dist_norm', 'dist_head'} if 'head' in parts else None
