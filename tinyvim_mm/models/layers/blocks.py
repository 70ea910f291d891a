"""The two residual blocks of TinyViM, and the FFN that other backbones share."""

from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn

from .conv import ConvBN, RepDWConv
from .drop_path import DropPath
from .laplace_mixer import LaplaceMixer
from .norm import NormCfg


class FFN(nn.Module):
    """Two pointwise Conv-BN with an activation, which ``act`` makes, between them."""

    def __init__(
        self,
        channels: int,
        expansion: int = 4,
        norm_cfg: NormCfg = None,
        act: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.fc1 = ConvBN(channels, channels * expansion, norm_cfg=norm_cfg)
        self.act = act()
        self.fc2 = ConvBN(channels * expansion, channels, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))

    def fuse(self, gain: Optional[Tensor] = None) -> 'FFN':
        """Fold the norms, and a factor per channel that follows, into the convolutions."""
        self.fc1, self.fc2 = self.fc1.fuse(), self.fc2.fuse(gain)
        return self


class ResidualFFN(FFN):
    """``x + FFN(x)``."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class LocalBlock(nn.Module):
    """``x + layer_scale * FFN(RepDWConv(x))``."""

    def __init__(self, channels: int, drop_path: float, norm_cfg: NormCfg) -> None:
        super().__init__()
        self.dwconv = RepDWConv(channels, 3, norm_cfg)
        self.mlp = FFN(channels, norm_cfg=norm_cfg)
        self.layer_scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mlp(self.dwconv(x))
        return x + self.drop_path(y if self.layer_scale is None else self.layer_scale * y)

    def fuse(self) -> 'LocalBlock':
        """Fold the norms and the layer scale into the convolutions."""
        self.dwconv = self.dwconv.fuse()
        self.mlp = self.mlp.fuse(self.layer_scale)
        self.layer_scale = None
        return self


class TinyViMBlock(nn.Module):
    """``x = x + LaplaceMixer(x)``, then ``x = x + FFN(x)``."""

    def __init__(self, channels: int, drop_path: float, norm_cfg: NormCfg, **mixer: Any) -> None:
        super().__init__()
        self.mixer = LaplaceMixer(channels, norm_cfg=norm_cfg, **mixer)
        self.mlp = FFN(channels, norm_cfg=norm_cfg)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.mixer(x))
        return x + self.drop_path(self.mlp(x))
