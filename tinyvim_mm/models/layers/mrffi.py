"""Multi-receptive-field feature interaction, the token mixer of MobileMamba."""

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import ConvBN
from .norm import NormCfg
from .wte_mamba import WTEMamba

#: The globally mixed channels are a multiple of this.
_MULTIPLE = 16


class MRFFI(nn.Module):
    """Global, local and no mixing on a share of the channels each (MobileMamba, "MRFFI").

    The first channels go through a :class:`WTEMamba`, the next through two
    depthwise convolutions (``k x k`` and 1x1, each with batch norm, ReLU between),
    the rest stay. They are concatenated, rectified and projected.

    Args:
        global_ratio: Share of the first group, rounded to a multiple of 16.
        local_ratio: Share of the second, rounded down.
        kernel_size: ``k`` of the depthwise convolutions, odd.

    Raises:
        ValueError: The ratios leave no channel to the first or second group.
    """

    def __init__(
        self,
        channels: int,
        global_ratio: float,
        local_ratio: float,
        kernel_size: int,
        d_state: int = 1,
        norm_cfg: NormCfg = None,
        ssm_backend: Optional[str] = None,
    ) -> None:
        super().__init__()
        self.sizes = _split(channels, global_ratio, local_ratio)
        first, local = self.sizes[:2]
        self.wte = WTEMamba(first, kernel_size, d_state, norm_cfg, ssm_backend)
        self.local = nn.Sequential(
            ConvBN(local, local, kernel_size, groups=local, norm_cfg=norm_cfg),
            nn.ReLU(),
            ConvBN(local, local, groups=local, norm_cfg=norm_cfg),
        )
        self.proj = ConvBN(channels, channels, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, D, H, W)`` to the same shape."""
        first, second, *rest = x.split(self.sizes, dim=1)
        return self.proj(F.relu(torch.cat([self.wte(first), self.local(second), *rest], dim=1)))


def _split(channels: int, global_ratio: float, local_ratio: float) -> Tuple[int, ...]:
    first = int(int(channels * global_ratio) / _MULTIPLE + 0.5) * _MULTIPLE  # halves go up
    second = min(int(channels * local_ratio), channels - first)
    if first < _MULTIPLE or second < 1:
        raise ValueError(
            f'global_ratio={global_ratio} and local_ratio={local_ratio} give {first} and '
            f'{max(second, 0)} of {channels} channels to the global and the local branch, which '
            f'need at least {_MULTIPLE} and 1'
        )
    rest = channels - first - second
    return (first, second, rest) if rest else (first, second)
