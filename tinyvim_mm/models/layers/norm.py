"""Batch normalization: chosen by ``norm_cfg``, and with too small a batch."""

from typing import Optional, Type

from mmengine.registry import MODELS
from torch import Tensor, nn

from ...ops.tracing import is_compiling

#: How batch norms are built, see :func:`build_batch_norm`.
NormCfg = Optional[dict]
#: How torch complains of it, in its batch norms of one process and of several.
_ONE_VALUE = 'Expected more than 1 value per channel'
_KNOWN = {'BN': nn.BatchNorm2d, 'BN2d': nn.BatchNorm2d, 'SyncBN': nn.SyncBatchNorm}


def build_batch_norm(norm_cfg: NormCfg, num_features: int) -> nn.Module:
    """Build a batch norm.

    Only this kind of normalization folds into the convolution before it.

    Args:
        norm_cfg: ``type`` (``'BN'``, ``'SyncBN'``, or a batch norm known to
            mmengine's registry, such as mmcv's ``'MMSyncBN'``),
            ``requires_grad`` and the layer's own arguments (``eps``,
            ``momentum``). ``None`` means ``dict(type='BN')``.
        num_features: Channels.

    Raises:
        ValueError: It is no dict, its type is unknown or no batch normalization, or
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
            f'norm_cfg type {kind!r} is no batch normalization; use one of {", ".join(_KNOWN)}'
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


def run_part(
    owner: nn.Module, part: str, module: nn.Module, x: Tensor, image: Optional[Tensor] = None
) -> Tensor:
    """Run a part of a network; say what to do where a batch is too small for its batch norms.

    Args:
        owner: The network.
        part: Name of the part.
        module: The part.
        x: Its input.
        image: From which ``x`` was computed, ``(batch, channels, H, W)``; ``None`` where
            its size makes no difference.

    Returns:
        ``module(x)``.

    Raises:
        ValueError: A batch norm in training has but one value per channel: the batch is
            one image, and the map one pixel.
    """
    if is_compiling():  # which cannot trace what follows
        return module(x)
    try:
        return module(x)
    except ValueError as error:
        if _ONE_VALUE not in str(error):
            raise
        name = owner.describe() if hasattr(owner, 'describe') else type(owner).__name__
        if image is None:
            seen, cure = 'one image', 'more images at a time'
        else:
            height, width = image.shape[-2:]
            seen = f'one image of {height}x{width} pixels, of which a map of one pixel is left'
            cure = 'more images at a time or larger ones, or with norm_eval=True'
        raise ValueError(
            f'{part} of {name}: a batch norm in training gets one value per channel, which has no '
            f'variance; the batch is {seen}. Train with {cure}. Where it is the last, smaller '
            'batch of an epoch, drop_last=True in the dataloader leaves it out'
        ) from None


def _find(kind: object) -> Optional[Type[nn.Module]]:
    """The class of that name, or ``None`` if there is none or it is no batch norm."""
    if isinstance(kind, str) and kind:
        kind = _KNOWN.get(kind) or MODELS.get(kind)
    if isinstance(kind, type) and issubclass(kind, nn.modules.batchnorm._BatchNorm):
        return kind
    return None


def _check(cfg: dict) -> None:
    """Refuse what torch accepts when it builds a layer, and fails on in the first step."""
    for name in ('eps', 'momentum'):
        value = cfg.get(name, 0.1)
        if name == 'momentum' and value is None:  # torch's word for a cumulative average
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and 0 <= value < float('inf')):
            raise ValueError(
                f'norm_cfg {name} must be a finite number of at least 0, got {value!r}'
            )
