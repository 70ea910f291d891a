"""mmdet's SSD head, mended."""

from typing import Any

from ...core import compat
from ...registry import MODELS

compat.apply()  # mmdet imports torchvision

from mmdet.models import dense_heads  # noqa: E402


@MODELS.register_module()
class SSDHead(dense_heads.SSDHead):
    """mmdet's ``SSDHead``, able to predict; arguments are its own.

    The prediction common to mmdet's heads asks for ``loss_cls``, which this one
    head does not have, and ends in an AttributeError (mmdet 3.3, 3.5).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not hasattr(self, 'loss_cls'):
            self.loss_cls = None
