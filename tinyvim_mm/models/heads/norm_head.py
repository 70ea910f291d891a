"""Head of mmpretrain that normalizes each pixel."""

from typing import Any, Optional

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
        loss: Loss against the labels. ``None`` means cross entropy.
        sizes, others: Arguments of :class:`NormClassifier`.
    """

    def __init__(self, *sizes: int, loss: Optional[dict] = None, **others: Any) -> None:
        super().__init__(*sizes, **others)
        if loss is not None:
            self.loss_module = MMENGINE_MODELS.build(loss)
