"""Arithmetic of reparameterization: a batch norm with fixed statistics is affine, so it folds.

Everything is folded in float64 and rounded once at the end.
"""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def double(tensor: Tensor) -> Tensor:
    """A float64 copy to compute with, on the CPU: some accelerators have no float64."""
    device = tensor.device if tensor.is_meta else torch.device('cpu')
    return tensor.detach().to(device, torch.float64)


def norm_as_affine(norm: _BatchNorm) -> Tuple[Tensor, Tensor]:
    """``scale`` and ``shift`` of what a batch norm computes in inference, ``scale * x + shift``.

    Both are ``(channels,)``, float64.

    Raises:
        ValueError: It keeps no running statistics, or is no batch norm any more.
    """
    if not isinstance(norm, _BatchNorm):
        raise ValueError(
            f'{norm} stands where a batch norm should be folded; call reparameterize(model) '
            'before other functions that fold norms, such as mmcv.cnn.fuse_conv_bn'
        )
    if norm.running_mean is None:
        raise ValueError(
            f'{norm} keeps no running statistics, so that its output depends on the batch and '
            'cannot be folded; build the model without track_running_stats=False in norm_cfg'
        )
    scale = (double(norm.running_var) + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * double(norm.weight)
    shift = -double(norm.running_mean) * scale
    if norm.bias is not None:
        shift = shift + double(norm.bias)
    return scale, shift


def fold_norm(
    weight: Tensor, bias: Optional[Tensor], norm: _BatchNorm, gain: Optional[Tensor] = None
) -> Tuple[Tensor, Tensor]:
    """Fold the batch norm that follows a convolution into it.

    Args:
        weight: Of the convolution, ``(out_channels, ...)``, float64.
        bias: ``(out_channels,)``, float64, or ``None`` for zero.
        norm: What follows.
        gain: A factor per channel that follows the norm, of any shape.

    Returns:
        Weight and bias of the convolution that does both, float64. The weight
        keeps its memory format.
    """
    scale, shift = norm_as_affine(norm)
    if gain is not None:
        gain = double(gain).flatten()
        scale, shift = scale * gain, shift * gain
    weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    return weight, shift if bias is None else shift + bias * scale


def biased_copy(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution like ``conv``, in its type and on its device, with other values and a bias."""
    # On the meta device: nothing is allocated, and no random number drawn, for values to replace.
    names = ('in_channels', 'out_channels', 'kernel_size', 'stride', 'padding', 'dilation')
    settings = {name: getattr(conv, name) for name in (*names, 'groups', 'padding_mode')}
    copy = nn.Conv2d(**settings, device='meta')
    copy.weight = nn.Parameter(weight.to(conv.weight))
    copy.bias = nn.Parameter(bias.to(conv.weight))
    return copy


def fuse_children(module: nn.Module) -> None:
    """Replace every part that has a ``fuse()`` by what that returns, at any depth."""
    for name, child in module.named_children():
        if hasattr(child, 'fuse'):
            setattr(module, name, child.fuse())
        else:
            fuse_children(child)
