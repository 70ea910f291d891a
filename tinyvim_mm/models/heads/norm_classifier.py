"""Classifier of VMamba and EfficientVMamba."""

from typing import Optional

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import ChannelNorm, init_linear
from .distillation_classifier import Features


@MODELS.register_module()
class NormClassifier(BaseModule):
    """Layer normalization of each pixel, global average pooling and a linear layer.

    Takes the raw output of the last stage, that is of a backbone built with
    ``normalize_outputs=False``.

    Arguments, and what the methods take, are as in :class:`.DistillationClassifier`.
    """

    #: There is one linear layer, and its norm comes first.
    dist_head = None
    norm_after_pool = False

    def __init__(
        self, in_channels: int, num_classes: int = 1000, init_cfg: Optional[dict] = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.norm = ChannelNorm(in_channels)
        self.head = nn.Linear(in_channels, num_classes)
        init_linear(self.head)

    def pre_logits(self, feats: Features) -> Tensor:
        """Normalize and pool: ``(batch, in_channels)``."""
        x = feats if isinstance(feats, Tensor) else feats[-1]
        return self.norm(x).mean((2, 3))

    def label_logits(self, pooled: Tensor) -> Tensor:
        """Logits from what :meth:`pre_logits` gives."""
        return self.head(pooled)

    def forward(self, feats: Features) -> Tensor:
        """Logits ``(batch, num_classes)``."""
        return self.label_logits(self.pre_logits(feats))
