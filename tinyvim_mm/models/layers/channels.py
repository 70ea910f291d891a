"""Layers over the channels of each pixel, for maps ``(batch, channels, H, W)``.

They permute the channels to the end, compute, and permute back. The result is therefore in
channels-last memory format, in which the next of them, a depthwise convolution or a scan
takes it without a copy.
"""

import torch
from torch import Tensor, nn

from ...ops.skip_scan import pad_to_even


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, H, W)`` to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Pointwise(nn.Linear):
    """A linear layer over the channels of each pixel: a 1x1 convolution with a matrix as weight."""

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, in_features, H, W)`` to ``(batch, out_features, H, W)``."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PatchMerging(nn.Module):
    """Halves the resolution: concatenates the pixels of each 2x2 cell, normalizes and projects.

    As in Swin Transformer (Sec. 3.1), sides of odd length are padded with zeros on the right
    and below.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * in_channels, eps=1e-5)
        self.reduction = nn.Linear(4 * in_channels, out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, in_channels, H, W)`` to ``(batch, out_channels, ceil(H/2), ceil(W/2))``."""
        x = pad_to_even(x).permute(0, 2, 3, 1)
        # Released weights expect the order (0, 0), (1, 0), (0, 1), (1, 1) of (row, column).
        # Slices, since ONNX's tracing exporter would fix the sizes in an `unflatten`.
        cells = torch.cat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], -1)
        return self.reduction(self.norm(cells)).permute(0, 3, 1, 2)


def init_linear(module: nn.Module) -> None:
    """Initialize a linear layer as VMamba does; other modules stay as they are."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
