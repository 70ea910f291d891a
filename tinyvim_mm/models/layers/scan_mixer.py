"""The token mixer of VMamba and its descendants: a scan between two projections."""

import math
from typing import Optional

import torch.nn.functional as F
from torch import Tensor, nn

from .channels import Pointwise
from .ss2d import SS2D


class ScanMixer(nn.Module):
    """Projection, depthwise convolution, SiLU, scan, projection.

    VMamba's form (Sec. 4.4) has no gate and no bias; EfficientVMamba's has both: half
    of what the first projection gives is the gate, whose SiLU multiplies the scanned
    other half.

    Args:
        channels: ``d``.
        expansion: ``D / d``, channels of the scan per channel.
        gated: Whether there is a gate.
        conv_bias: Whether the depthwise convolution has a bias.
        scan: :class:`SS2D` or a class with its arguments.
    """

    def __init__(
        self,
        channels: int,
        expansion: int = 2,
        d_state: int = 1,
        gated: bool = False,
        conv_bias: bool = False,
        scan: type = SS2D,
        ssm_backend: Optional[str] = None,
    ) -> None:
        super().__init__()
        width = channels * expansion
        self.gated = gated
        self.in_proj = Pointwise(channels, width * (1 + gated), bias=False)
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=conv_bias)
        self.act = nn.SiLU()
        # As released, the rank follows from the width of the block, not of the scan.
        dt_rank = math.ceil(channels / 16)
        self.ss2d = scan(width, d_state=d_state, dt_rank=dt_rank, backend=ssm_backend)
        # Released networks initialize it as PyTorch does a linear layer, unlike Mamba.
        nn.init.uniform_(self.ss2d.x_proj_weight, -(width**-0.5), width**-0.5)
        self.out_proj = Pointwise(width, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, d, H, W)`` to the same shape."""
        x = self.in_proj(x)
        gate = None
        if self.gated:
            x, gate = x.chunk(2, dim=1)
        x = self.ss2d(self.act(self.conv(x)))
        return self.out_proj(x if gate is None else x * F.silu(gate))
