"""Wavelet-enhanced Mamba: a gated scan of the map beside a convolution of its Haar bands."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...ops import BIDIRECTIONAL
from ...ops.tracing import is_compiling
from .conv import ConvBN
from .fuse import double
from .haar import HAAR_GAIN, join_bands, split_bands
from .norm import NormCfg
from .ss2d import SS2D


class WaveletConv(nn.Module):
    """Haar transform, depthwise convolution of all bands, factor per channel, inverse transform.

    Sides of odd length get a zero row or column at the end, which is cropped
    again.

    Args:
        channels: ``G``.
        kernel_size: Of the depthwise convolution, odd.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.channels = channels
        # Band s of channel c is channel 4 * c + s, as in released weights.
        bands, padding = 4 * channels, kernel_size // 2
        self.conv = nn.Conv2d(bands, bands, kernel_size, padding=padding, groups=bands, bias=False)
        self.scale = nn.Parameter(torch.full((1, bands, 1, 1), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        # A tracer would record the choice for all sizes, so it gets the general form.
        if torch.jit.is_tracing() or is_compiling() or height % 2 or width % 2:
            padded = F.pad(x, (0, width % 2, 0, height % 2))
        else:
            padded = x
        weight, conv = self._weight(x.dtype), self.conv
        bands = F.conv2d(split_bands(padded), weight, padding=conv.padding, groups=conv.groups)
        return join_bands(bands)[..., :height, :width]

    def _weight(self, dtype: torch.dtype) -> Tensor:
        """Weight with all factors in it, for bands that stand one after the other.

        The few values of the weight are scaled and sorted instead of the map.
        """
        weight = self.conv.weight * HAAR_GAIN**2
        if self.scale is not None:
            weight = weight * self.scale.transpose(0, 1)
        return weight.unflatten(0, (self.channels, 4)).transpose(0, 1).flatten(0, 1).to(dtype)

    def fuse(self) -> 'WaveletConv':
        """Fold the factor per channel into the convolution."""
        weight = double(self.conv.weight) * double(self.scale).transpose(0, 1)
        self.conv.weight = nn.Parameter(weight.to(self.conv.weight))
        self.scale = None
        return self


class WTEMamba(nn.Module):
    """``base_scale * Mamba(x) + WaveletConv(x)`` (MobileMamba, "WTE-Mamba").

    The Mamba: Conv-BN to ``2 * d`` channels, a depthwise convolution and SiLU on
    the first half, the scan, layer normalization, the gate ``SiLU`` of the second
    half, and Conv-BN back.

    Args:
        channels: ``G``; ``d`` is twice as many.
        kernel_size: Of the wavelet branch.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        d_state: int = 1,
        norm_cfg: NormCfg = None,
        ssm_backend: Optional[str] = None,
    ) -> None:
        super().__init__()
        d = 2 * channels
        self.in_proj = ConvBN(channels, 2 * d, norm_cfg=norm_cfg)
        self.dwconv = nn.Conv2d(d, d, 3, padding=1, groups=d)
        self.act = nn.SiLU()
        # The rank follows G, not d.
        self.ss2d = SS2D(d, d_state, -(-channels // 16), BIDIRECTIONAL, ssm_backend)
        self.out_proj = ConvBN(d, channels, norm_cfg=norm_cfg)
        self.base_scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.wavelet = WaveletConv(channels, kernel_size)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialize the scan as published: step sizes near ``softplus(0)``."""
        scan = self.ss2d
        d = scan.x_proj_weight.shape[-1]
        nn.init.uniform_(scan.x_proj_weight, -(d**-0.5), d**-0.5)
        nn.init.uniform_(scan.dt_projs_weight, 0, 0.1)
        nn.init.uniform_(scan.dt_projs_bias, 0, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, G, H, W)`` to the same shape."""
        scanned, gate = self.in_proj(x).chunk(2, dim=1)
        scanned = self.ss2d(self.act(self.dwconv(scanned)))
        y = self.out_proj(scanned * self.act(gate))
        return (y if self.base_scale is None else self.base_scale * y) + self.wavelet(x)

    def fuse(self) -> 'WTEMamba':
        """Fold norms and scales into the convolutions."""
        self.in_proj, self.out_proj = self.in_proj.fuse(), self.out_proj.fuse(self.base_scale)
        self.base_scale = None
        self.wavelet = self.wavelet.fuse()
        return self
