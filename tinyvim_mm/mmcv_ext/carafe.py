"""CARAFE: upsampling with a kernel for each position.

``features`` are (B, C, H, W), ``masks`` (B, groups * k * k, s * H, s * W), for factor ``s``. One of
the ``k * k`` neighbours at a time, because all at once take ``k * k`` times the memory.
"""

from typing import Iterator, Tuple

import torch
from torch.nn import functional as F

__all__ = ['carafe_backward', 'carafe_forward', 'carafe_naive_backward', 'carafe_naive_forward']


def carafe_naive_forward(
    features: torch.Tensor,
    masks: torch.Tensor,
    output: torch.Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Sums of the neighbours of each position into ``output``, (B, C, s * H, s * W)."""
    taps = _Taps(features, kernel_size, group_size, scale_factor)
    total = torch.zeros_like(taps.upsampled(output))
    for neighbours, mask in zip(taps.neighbours(features), taps.masks(masks), strict=True):
        total += neighbours * mask
    output.copy_(total.reshape(output.shape))


def carafe_naive_backward(
    top_grad: torch.Tensor,
    features: torch.Tensor,
    masks: torch.Tensor,
    bottom_grad: torch.Tensor,
    mask_grad: torch.Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Gradients of :func:`carafe_naive_forward` into ``bottom_grad`` and ``mask_grad``."""
    taps = _Taps(features, kernel_size, group_size, scale_factor)
    gradient = taps.upsampled(top_grad)
    padded = F.pad(torch.zeros_like(features), [taps.reach] * 4)
    targets = taps.masks(mask_grad)
    pairs = zip(taps.neighbours(features), taps.masks(masks), targets, strict=True)
    for place, (neighbours, mask, target) in zip(taps.places(), pairs, strict=True):
        target.copy_((gradient * neighbours).sum(2, keepdim=True))
        padded[place] += (gradient * mask).sum((4, 6)).reshape(features.shape)
    inner = slice(taps.reach, -taps.reach or None)
    bottom_grad.copy_(padded[..., inner, inner])


def carafe_forward(
    features: torch.Tensor,
    masks: torch.Tensor,
    rfeatures: torch.Tensor,
    routput: torch.Tensor,
    rmasks: torch.Tensor,
    output: torch.Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """As :func:`carafe_naive_forward`; ``rfeatures`` keeps the features for the gradient."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    top_grad: torch.Tensor,
    rfeatures: torch.Tensor,
    masks: torch.Tensor,
    rtop_grad: torch.Tensor,
    rbottom_grad_hs: torch.Tensor,
    rbottom_grad: torch.Tensor,
    rmask_grad: torch.Tensor,
    bottom_grad: torch.Tensor,
    mask_grad: torch.Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """As :func:`carafe_naive_backward`, from what :func:`carafe_forward` kept."""
    sizes = (kernel_size, group_size, scale_factor)
    carafe_naive_backward(top_grad, rfeatures, masks, bottom_grad, mask_grad, *sizes)


class _Taps:
    """Views in which features, masks and results meet: (B, groups, C / groups, H, s, W, s)."""

    def __init__(self, features: torch.Tensor, size: int, groups: int, factor: int) -> None:
        self.batch, channels, self.height, self.width = features.shape
        self.split = (groups, channels // groups)
        self.size, self.factor, self.reach = size, factor, (size - 1) // 2

    def upsampled(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.reshape(
            self.batch, *self.split, self.height, self.factor, self.width, self.factor
        )

    def places(self) -> Iterator[Tuple[object, ...]]:
        for y in range(self.size):
            for x in range(self.size):
                yield ..., slice(y, y + self.height), slice(x, x + self.width)

    def neighbours(self, features: torch.Tensor) -> Iterator[torch.Tensor]:
        padded = F.pad(features, [self.reach] * 4)
        for place in self.places():
            shape = (self.batch, *self.split, self.height, 1, self.width, 1)
            yield padded[place].reshape(shape)

    def masks(self, masks: torch.Tensor) -> Iterator[torch.Tensor]:
        shape = (self.batch, self.split[0], self.size**2, *masks.shape[2:])
        for mask in masks.view(shape).unbind(2):
            fine = (self.height, self.factor, self.width, self.factor)
            yield mask.view(self.batch, self.split[0], 1, *fine)
