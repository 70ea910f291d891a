"""The Laplace mixer: only low frequencies go through the 2-D selective scan."""

import math
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import AxialRepDWConv, ConvBN, RepDWConv
from .norm import NormCfg
from .ss2d import SS2D


class LaplaceMixer(nn.Module):
    """Token mixer of TinyViM (Sec. 3.2, "Laplace mixer").

    After a projection and a large-kernel depthwise convolution, the channels
    are split. The first ``d`` are decoupled by frequency: average pooling gives
    the low part ``ll``, what pooling removes is the high part ``lh``; ``ll`` is
    scanned on the coarse grid and upsampled again. The other channels go
    through a depthwise 3x3 convolution. The results are concatenated and
    projected.

    ``high_residual`` is ``'add'`` in the released network (``lh`` is added back
    unprocessed) and ``'concat'`` as the paper's text has it (``lh`` joins the
    high channels in their depthwise convolution and is added then).

    ``scan_frequencies`` are the variants of the paper's frequency ablation. The
    paper does not publish their construction; here ``'high'`` scans ``lh`` at
    full resolution and adds the low part back, ``'both'`` does this beside the
    scan of ``ll`` with weights of its own, and ``'all'`` scans the ``d`` channels
    at full resolution without decoupling. Where ``pool_size`` is 1 nothing can
    be decoupled and the one scan takes everything, except that ``'both'`` has no
    second scan. ``'none'`` scans nothing, there neither: the ``d`` channels pass as
    they are, which shows what the scan is worth.

    Args:
        channels: ``D``, of input and output.
        split_ratio: ``alpha``; ``d = int(D * alpha)`` channels are decoupled.
        pool_size: Factor between the map and the grid of the scan; 1 means that
            nothing is pooled.
        laplacian_kernel: 3 for a square depthwise kernel; 5, 7 or 9 for axial
            ones on half the channels each.
        scan_frequencies: ``'low'``, ``'high'``, ``'all'``, ``'both'`` or ``'none'``.
        high_residual: ``'add'`` or ``'concat'``. The other than the default
            needs ``scan_frequencies='low'``, which alone leaves ``lh`` over.

    Raises:
        ValueError: An argument is none of those listed.
    """

    def __init__(
        self,
        channels: int,
        split_ratio: float = 0.5,
        pool_size: int = 1,
        laplacian_kernel: int = 7,
        scan_frequencies: str = 'low',
        high_residual: str = 'add',
        d_state: int = 8,
        norm_cfg: NormCfg = None,
        ssm_backend: Optional[str] = None,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ('scan_frequencies', scan_frequencies, ('low', 'high', 'all', 'both', 'none')),
            ('high_residual', high_residual, ('add', 'concat')),
            ('laplacian_kernel', laplacian_kernel, (3, 5, 7, 9)),
        ):
            if value not in choices:
                listed = ', '.join(map(repr, choices))
                raise ValueError(f'{name} must be one of {listed}, got {value!r}')
        if high_residual == 'concat' and scan_frequencies != 'low':
            raise ValueError(
                f"high_residual='concat' needs scan_frequencies='low': with "
                f'{scan_frequencies!r} no high part is left to concatenate'
            )
        if not isinstance(pool_size, int) or pool_size < 1:
            raise ValueError(f'pool_size must be an integer of at least 1, got {pool_size!r}')
        low = int(channels * split_ratio)
        if not 0 < low < channels:
            raise ValueError(
                f'split_ratio={split_ratio} gives {low} of {channels} channels to the scan; '
                'both branches need at least one'
            )
        self.sizes = [low, channels - low]
        self.pool_size = pool_size
        whole = pool_size == 1 and scan_frequencies != 'none'
        self.scan_frequencies = 'all' if whole else scan_frequencies
        self.concat_high = high_residual == 'concat' and pool_size > 1
        dt_rank = math.ceil(channels / 16)

        self.in_proj = ConvBN(channels, channels, norm_cfg=norm_cfg)
        if laplacian_kernel == 3:
            self.laplacian = RepDWConv(channels, 3, norm_cfg)
        else:
            self.laplacian = AxialRepDWConv(channels, laplacian_kernel, norm_cfg)
        self.act = nn.SiLU()
        self.high_conv = RepDWConv(channels if self.concat_high else channels - low, 3, norm_cfg)
        if self.scan_frequencies != 'none':
            self.ss2d = SS2D(low, d_state, dt_rank, backend=ssm_backend)
        if self.scan_frequencies == 'both':
            self.ss2d_high = SS2D(low, d_state, dt_rank, backend=ssm_backend)
        self.out_proj = ConvBN(channels, channels, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, D, H, W)`` to the same shape."""
        x = self.act(self.laplacian(self.in_proj(x)))
        low, high = x.split(self.sizes, dim=1)
        if self.scan_frequencies == 'none':
            high = self.high_conv(high)
        elif self.scan_frequencies == 'all':
            low, high = self.ss2d(low), self.high_conv(high)
        else:
            low, high = self._decouple(low, high)
        return self.out_proj(torch.cat([low, high], dim=1))

    def _decouple(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        size = low.shape[-2:]
        ll = self._pool(low)
        ll_up = self._upsample(ll, size, 'nearest')
        lh = low - ll_up
        if self.scan_frequencies == 'high':
            return ll_up + self.ss2d(lh), self.high_conv(high)
        scanned = self._upsample(self.ss2d(ll), size, 'bilinear')
        if self.scan_frequencies == 'both':
            return scanned + self.ss2d_high(lh), self.high_conv(high)
        if self.concat_high:
            lh, high = self.high_conv(torch.cat([lh, high], dim=1)).split(self.sizes, dim=1)
            return scanned + lh, high
        return scanned + lh, self.high_conv(high)

    def _pool(self, x: Tensor) -> Tensor:
        # ceil_mode: the last block of a side that is no multiple of pool_size
        # is averaged over what it has, so no pixel is dropped.
        return F.avg_pool2d(x, self.pool_size, ceil_mode=True, count_include_pad=False)

    def _upsample(self, x: Tensor, size: torch.Size, mode: str) -> Tensor:
        # By the factor, then cropped: so coarse pixels stay over the blocks
        # that they were pooled from, whatever the size.
        align = None if mode == 'nearest' else False
        x = F.interpolate(x, scale_factor=float(self.pool_size), mode=mode, align_corners=align)
        return x[..., : size[0], : size[1]]
