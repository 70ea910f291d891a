"""mmdet's SSD head, mended."""

from mmengine.model import BaseModule

from ...registry import MODELS


@MODELS.register_module(name='SSDHead')
def build_ssd_head(**cfg) -> BaseModule:
    """Build mmdet's ``SSDHead`` so that it can predict.

    The prediction common to mmdet's heads asks for ``loss_cls``, which this one
    head does not have, and ends in an AttributeError (mmdet 3.3, 3.5).
    """
    from mmdet.models.dense_heads import SSDHead

    head = SSDHead(**cfg)
    if not hasattr(head, 'loss_cls'):
        head.loss_cls = None
    return head
