"""The residual blocks of VMamba and EfficientVMamba."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .channels import ChannelNorm, Pointwise
from .conv import ConvBN
from .drop_path import DropPath
from .norm import NormCfg
from .scan_mixer import ScanMixer
from .squeeze_excite import SqueezeExcite
from .ss2d import SkipSS2D


class MLP(nn.Module):
    """Two linear layers over channels, four times as many between them, with GELU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = Pointwise(channels, 4 * channels)
        self.fc2 = Pointwise(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class VSSBlock(nn.Module):
    """``x = x + ScanMixer(norm(x))``, then ``x = x + MLP(norm(x))`` (VMamba, Fig. 3).

    Either branch may be dropped.
    """

    def __init__(self, channels: int, drop_path: float, **mixer: Any) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.mixer = ScanMixer(channels, **mixer)
        self.norm2 = ChannelNorm(channels)
        self.mlp = MLP(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.mixer(self.norm(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class NormGate(nn.Module):
    """Squeeze-and-excitation that sees the normalized map and scales the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.fc1 = nn.Linear(channels, channels // 8)
        self.fc2 = nn.Linear(channels // 8, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(F.gelu(self.fc1(self.norm(x).mean((2, 3)))))
        return x * gate.sigmoid()[:, :, None, None]


class EVSSBlock(nn.Module):
    """``x + gate(mixer(y)) + gate(branch(y))`` with ``y = norm(x)`` (EfficientVMamba, Fig. 3).

    One gate serves the skip-sampled scan and the convolutions beside it.
    """

    def __init__(self, channels: int, drop_path: float, norm_cfg: NormCfg, **mixer: Any) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.mixer = ScanMixer(channels, gated=True, conv_bias=True, scan=SkipSS2D, **mixer)
        self.branch = nn.Sequential(
            ConvBN(channels, channels, 3, groups=channels, norm_cfg=norm_cfg, bias=True),
            nn.GELU(),
            nn.Conv2d(channels, channels, 1),
        )
        self.gate = NormGate(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.drop_path(self.gate(self.mixer(y)) + self.gate(self.branch(y)))


class InvertedResidual(nn.Module):
    """``x + project(squeeze_excite(depthwise(expand(x))))``, Conv-BN each, ReLU after two."""

    def __init__(self, channels: int, drop_path: float, norm_cfg: NormCfg) -> None:
        super().__init__()
        hidden = 4 * channels
        self.expand = ConvBN(channels, hidden, norm_cfg=norm_cfg)
        self.dwconv = ConvBN(hidden, hidden, 3, groups=hidden, norm_cfg=norm_cfg)
        self.se = SqueezeExcite(hidden, channels // 2)
        self.project = ConvBN(hidden, channels, norm_cfg=norm_cfg)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.dwconv(F.relu(self.expand(x))))
        return x + self.drop_path(self.project(self.se(y)))
