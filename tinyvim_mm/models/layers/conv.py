"""Convolutions with batch normalization, and their reparameterizable groups."""

from typing import Optional, Tuple, Union

import torch
from torch import Tensor, nn

from .fuse import biased_copy, double, fold_norm
from .norm import NormCfg, build_batch_norm

KernelSize = Union[int, Tuple[int, int]]


class ConvBN(nn.Module):
    """A convolution followed by batch normalization.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd, one number or (rows, columns); padding keeps the size.
        stride: Of the convolution.
        groups: Of the convolution.
        bias: Whether the convolution has a bias, which the norm makes redundant; some
            released networks have it nevertheless.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: KernelSize = 1,
        stride: int = 1,
        groups: int = 1,
        norm_cfg: NormCfg = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        padding = (size[0] // 2, size[1] // 2)
        self.conv = nn.Conv2d(
            in_channels, out_channels, size, stride, padding, groups=groups, bias=bias
        )
        self.bn = build_batch_norm(norm_cfg, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))

    def fuse(self, gain: Optional[Tensor] = None) -> nn.Conv2d:
        """The one biased convolution that it is in inference.

        Args:
            gain: A factor per output channel that follows, to be folded too.
        """
        bias = None if self.conv.bias is None else double(self.conv.bias)
        weight, bias = fold_norm(double(self.conv.weight), bias, self.bn, gain)
        return biased_copy(self.conv, weight, bias)


class ResidualDWConv(ConvBN):
    """Depthwise ``x + ConvBN(x)``; one depthwise convolution when fused."""

    def __init__(self, channels: int, kernel_size: int = 3, norm_cfg: NormCfg = None) -> None:
        super().__init__(channels, channels, kernel_size, groups=channels, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)

    def fuse(self) -> nn.Conv2d:
        """The one biased depthwise convolution that it is in inference."""
        weight, bias = fold_norm(double(self.conv.weight), None, self.bn)
        rows, columns = self.conv.kernel_size
        weight[:, :, rows // 2, columns // 2] += 1
        return biased_copy(self.conv, weight, bias)


class RepDWConv(nn.Module):
    """Depthwise ``BN(ConvBN(x) + Conv1x1(x) + x)``; one depthwise convolution when fused."""

    def __init__(
        self, channels: int, kernel_size: KernelSize = 3, norm_cfg: NormCfg = None
    ) -> None:
        super().__init__()
        self.conv = ConvBN(channels, channels, kernel_size, groups=channels, norm_cfg=norm_cfg)
        # Before `conv1x1`: mmcv.cnn.fuse_conv_bn takes a norm that is registered
        # after a convolution for one that follows it alone, and would fold it there.
        self.bn = build_batch_norm(norm_cfg, channels)
        self.conv1x1 = nn.Conv2d(channels, channels, 1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        # The 1x1 convolution and the identity are one factor per channel;
        # written as a convolution it takes a slow path on some CPUs.
        factor = (self.conv1x1.weight.flatten() + 1).view(1, -1, 1, 1).to(x.dtype)
        bias = self.conv1x1.bias.view(1, -1, 1, 1).to(x.dtype)
        return self.bn(self.conv(x) + (x * factor + bias))

    def fuse(self) -> nn.Conv2d:
        """The one biased depthwise convolution that it is in inference."""
        conv = self.conv.conv
        weight, bias = fold_norm(double(conv.weight), None, self.conv.bn)
        rows, columns = conv.kernel_size
        weight[:, :, rows // 2, columns // 2] += double(self.conv1x1.weight)[:, :, 0, 0] + 1
        weight, bias = fold_norm(weight, bias + double(self.conv1x1.bias), self.bn)
        return biased_copy(conv, weight, bias)


class AxialRepDWConv(nn.Module):
    """A large depthwise kernel along one axis for each half of the channels.

    The first ``channels - channels // 2`` channels see a ``(kernel_size, 1)`` kernel, the
    others a ``(1, kernel_size)`` kernel.
    """

    def __init__(self, channels: int, kernel_size: int, norm_cfg: NormCfg) -> None:
        super().__init__()
        self.sizes = [channels - channels // 2, channels // 2]
        self.vertical = RepDWConv(self.sizes[0], (kernel_size, 1), norm_cfg)
        self.horizontal = RepDWConv(self.sizes[1], (1, kernel_size), norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        first, last = x.split(self.sizes, dim=1)
        return torch.cat([self.vertical(first), self.horizontal(last)], dim=1)
