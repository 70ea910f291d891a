"""Batch normalisation chosen by ``norm_cfg``."""

from typing import Optional, Type

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
        ValueError: It is no dict, its type is unknown or no batch normalisation, or
            an argument of the layer is wrong.
    """
    if norm_cfg is not None and not isinstance(norm_cfg, dict):
        raise ValueError(f"norm_cfg must be a dict such as dict(type='BN'), got {norm_cfg!r}")
    cfg = dict(norm_cfg or {'type': 'BN'})
    kind = cfg.pop('type', 'BN')
    requires_grad = cfg.pop('requires_grad', True)
    layer_class = _find(kind)
    if layer_class is None:
        raise ValueError(
            f'norm_cfg type {kind!r} is no batch normalisation; use one of {", ".join(_KNOWN)}'
        )
    _check(cfg)
    try:
        layer = layer_class(num_features, **cfg)
        layer.requires_grad_(requires_grad)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'norm_cfg {norm_cfg!r} does not fit {layer_class.__name__}: {error}'
        ) from error
    return layer


def _find(kind: object) -> Optional[Type[nn.Module]]:
    """The class of that name, or ``None`` if there is none or it is no batch norm."""
    if isinstance(kind, str) and kind:
        kind = _KNOWN.get(kind) or MODELS.get(kind)
    if isinstance(kind, type) and issubclass(kind, nn.modules.batchnorm._BatchNorm):
        return kind
    return None


def _check(cfg: dict) -> None:
    """Refuse numbers that torch's layers take without a look, and fail with in the first step."""
    for name in ('eps', 'momentum'):
        value = cfg.get(name, 0.1)
        if name == 'momentum' and value is None:  # torch's word for a cumulative average
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and 0 <= value < float('inf')):
            raise ValueError(
                f'norm_cfg {name} must be a finite number of at least 0, got {value!r}'
            )
