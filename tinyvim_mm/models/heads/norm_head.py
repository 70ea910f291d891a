"""Head of mmpretrain that normalises each pixel."""

from typing import Optional

from mmengine.registry import MODELS as MMENGINE_MODELS

from ...core import compat
from ...registry import MODELS
from .norm_classifier import NormClassifier

compat.apply()  # mmpretrain imports torchvision

from mmpretrain.models.heads import ClsHead  # noqa: E402


@MODELS.register_module()
class NormHead(NormClassifier, ClsHead):
    """:class:`NormClassifier` with the losses and predictions of an mmpretrain head.

    Args:
        in_channels: Channels of the backbone's last output.
        num_classes: Classes.
        loss: Loss against the labels. ``None`` means cross entropy.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int = 1000,
        loss: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(in_channels, num_classes, init_cfg)
        if loss is not None:
            self.loss_module = MMENGINE_MODELS.build(loss)
