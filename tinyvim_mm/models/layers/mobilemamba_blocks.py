"""Block and downsampling of MobileMamba: chains of units that are residual in themselves."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ResidualFFN
from .conv import ConvBN, ResidualDWConv
from .drop_path import DropPath
from .mrffi import MRFFI
from .norm import NormCfg
from .squeeze_excite import SqueezeExcite


class MobileMambaBlock(nn.Module):
    """``x + DropPath(F(x))``, ``F`` being a chain of five residual units.

    The units: depthwise 3x3, FFN, MRFFI, depthwise 3x3, FFN. The last norm of
    each begins at zero, so that a fresh block doubles its input.
    """

    def __init__(self, channels: int, drop_path: float, norm_cfg: NormCfg, **mixer: Any) -> None:
        super().__init__()
        self.dwconv0 = ResidualDWConv(channels, norm_cfg=norm_cfg)
        self.mlp0 = _ffn(channels, norm_cfg)
        self.mrffi = MRFFI(channels, norm_cfg=norm_cfg, **mixer)
        self.dwconv1 = ResidualDWConv(channels, norm_cfg=norm_cfg)
        self.mlp1 = _ffn(channels, norm_cfg)
        self.drop_path = DropPath(drop_path)
        for norm in (self.dwconv0.bn, self.dwconv1.bn, self.mrffi.proj.bn):
            nn.init.zeros_(norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mlp0(self.dwconv0(x))
        y = y + self.mrffi(y)
        return x + self.drop_path(self.mlp1(self.dwconv1(y)))


class LocalUnits(nn.Sequential):
    """A residual depthwise 3x3 convolution and a residual FFN."""

    def __init__(self, channels: int, norm_cfg: NormCfg) -> None:
        super().__init__()
        self.dwconv = ResidualDWConv(channels, norm_cfg=norm_cfg)
        self.mlp = _ffn(channels, norm_cfg)


class PatchMerging(nn.Module):
    """Half the resolution: widen, depthwise 3x3 with stride 2, squeeze-excite, project."""

    def __init__(self, in_channels: int, out_channels: int, norm_cfg: NormCfg) -> None:
        super().__init__()
        hidden = 4 * in_channels
        self.expand = ConvBN(in_channels, hidden, norm_cfg=norm_cfg)
        self.dwconv = ConvBN(hidden, hidden, 3, stride=2, groups=hidden, norm_cfg=norm_cfg)
        self.se = SqueezeExcite(hidden, in_channels)
        self.project = ConvBN(hidden, out_channels, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, in_channels, H, W)`` to ``(batch, out_channels, ceil(H/2), ceil(W/2))``."""
        return self.project(self.se(F.relu(self.dwconv(F.relu(self.expand(x))))))


class Transition(nn.Sequential):
    """Patch merging between local units of the old and of the new width."""

    def __init__(self, in_channels: int, out_channels: int, norm_cfg: NormCfg) -> None:
        super().__init__()
        self.before = LocalUnits(in_channels, norm_cfg)
        self.merge = PatchMerging(in_channels, out_channels, norm_cfg)
        self.after = LocalUnits(out_channels, norm_cfg)


def _ffn(channels: int, norm_cfg: NormCfg) -> ResidualFFN:
    ffn = ResidualFFN(channels, expansion=2, norm_cfg=norm_cfg, act=nn.ReLU)
    nn.init.zeros_(ffn.fc2.bn.weight)
    return ffn
