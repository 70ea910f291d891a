"""Batch normalisation chosen by ``norm_cfg``."""

from typing import Optional

from mmengine.registry import MODELS
from torch import nn

_KNOWN = {'BN': nn.BatchNorm2d, 'BN2d': nn.BatchNorm2d, 'SyncBN': nn.SyncBatchNorm}


def build_batch_norm(norm_cfg: Optional[dict], num_features: int) -> nn.Module:
    """Build the normalisation that follows a convolution.

    The networks here fuse it into the convolution for inference, so it must be
    a batch normalisation.

    Args:
        norm_cfg: ``type`` (``'BN'``, ``'SyncBN'``, or a batch norm known to
            mmengine's registry, such as mmcv's ``'MMSyncBN'``),
            ``requires_grad`` and the layer's own arguments (``eps``,
            ``momentum``). ``None`` means ``dict(type='BN')``.
        num_features: Channels.

    Raises:
        ValueError: It is no dict, or its type is unknown or no batch normalisation.
    """
    if norm_cfg is not None and not isinstance(norm_cfg, dict):
        raise ValueError(f"norm_cfg must be a dict such as dict(type='BN'), got {norm_cfg!r}")
    cfg = dict(norm_cfg or {'type': 'BN'})
    kind = cfg.pop('type', 'BN')
    requires_grad = cfg.pop('requires_grad', True)
    layer_class = kind if isinstance(kind, type) else _KNOWN.get(kind) or MODELS.get(kind)
    if layer_class is None or not issubclass(layer_class, nn.modules.batchnorm._BatchNorm):
        raise ValueError(
            f'norm_cfg type {kind!r} is no batch normalisation; use one of {", ".join(_KNOWN)}'
        )
    layer = layer_class(num_features, **cfg)
    layer.requires_grad_(requires_grad)
    return layer
