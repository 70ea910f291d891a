"""Deformable convolution, without and with a mask (DCN and DCNv2), on torchvision's operator.

Both libraries order the offsets in the same way: (B, 2 * groups * kH * kW, H, W), first y, then x.
"""

from typing import List, Optional, Tuple

import torch
from torchvision.ops import deform_conv2d

from .precision import widened

__all__ = [
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
]

_Pair = Tuple[int, int]


def deform_conv_forward(
    input: torch.Tensor,
    weight: torch.Tensor,
    offset: torch.Tensor,
    output: torch.Tensor,
    columns: torch.Tensor,
    ones: torch.Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Convolve (B, C, H, W) at shifted places into ``output``."""
    result = deform_conv2d(
        *map(widened, (input, offset, weight)),
        stride=(dH, dW),
        padding=(padH, padW),
        dilation=(dilationH, dilationW),
    )
    output.copy_(result)


def deform_conv_backward_input(
    input: torch.Tensor,
    offset: torch.Tensor,
    gradOutput: torch.Tensor,
    gradInput: torch.Tensor,
    gradOffset: torch.Tensor,
    weight: torch.Tensor,
    columns: torch.Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Gradients of :func:`deform_conv_forward` by input and offset."""
    strides = ((dH, dW), (padH, padW), (dilationH, dilationW))
    gradients = _gradients(
        gradOutput, input, weight, offset, None, *strides, group, deformable_group
    )
    gradInput.copy_(gradients[0])
    gradOffset.copy_(gradients[2])
    # mmcv asks for the gradient of the weights next, with the same buffer; torchvision has
    # computed it along with the others.
    columns.set_(gradients[1].to(columns.dtype))


def deform_conv_backward_parameters(
    input: torch.Tensor,
    offset: torch.Tensor,
    gradOutput: torch.Tensor,
    gradWeight: torch.Tensor,
    columns: torch.Tensor,
    ones: torch.Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Gradient of :func:`deform_conv_forward` by the weights, times ``scale``, added."""
    if columns.shape == gradWeight.shape:
        gradient = columns.clone()
        columns.set_(columns.new_empty(0))
    else:
        strides = ((dH, dW), (padH, padW), (dilationH, dilationW))
        weight = torch.zeros_like(gradWeight)  # its own gradient does not depend on it
        gradient = _gradients(
            gradOutput, input, weight, offset, None, *strides, group, deformable_group
        )[1]
    gradWeight.add_(gradient.to(gradWeight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    ones: torch.Tensor,
    offset: torch.Tensor,
    mask: torch.Tensor,
    output: torch.Tensor,
    columns: torch.Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Convolve (B, C, H, W) at shifted places, each times its mask, into ``output``."""
    result = deform_conv2d(
        *map(widened, (input, offset, weight)),
        bias=widened(bias) if with_bias else None,
        stride=(stride_h, stride_w),
        padding=(pad_h, pad_w),
        dilation=(dilation_h, dilation_w),
        mask=widened(mask),
    )
    output.copy_(result)


def modulated_deform_conv_backward(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    ones: torch.Tensor,
    offset: torch.Tensor,
    mask: torch.Tensor,
    columns: torch.Tensor,
    grad_input: torch.Tensor,
    grad_weight: torch.Tensor,
    grad_bias: torch.Tensor,
    grad_offset: torch.Tensor,
    grad_mask: torch.Tensor,
    grad_output: torch.Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Gradients of :func:`modulated_deform_conv_forward`."""
    strides = ((stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w))
    gradients = _gradients(
        grad_output, input, weight, offset, mask, *strides, group, deformable_group
    )
    targets = (grad_input, grad_weight, grad_offset, grad_mask)
    for target, gradient in zip(targets, gradients, strict=False):
        target.copy_(gradient)
    if with_bias:
        grad_bias.copy_(gradients[4])


def _gradients(
    grad_output: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    offset: torch.Tensor,
    mask: Optional[torch.Tensor],
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    groups: int,
    offset_groups: int,
) -> List[torch.Tensor]:
    """By input, weight, offset, mask and bias."""
    used = mask is not None
    mask = mask if mask is not None else input.new_zeros((len(input), 1))
    tensors = [widened(t) for t in (grad_output, input, weight, offset, mask)]
    bias = tensors[0].new_zeros(weight.shape[0])
    sizes = (*stride, *padding, *dilation, groups, offset_groups)
    return torch.ops.torchvision._deform_conv2d_backward(*tensors, bias, *sizes, used)
