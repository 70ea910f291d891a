"""Feature pyramid that also goes to finer strides than its finest input."""

from typing import Optional, Sequence, Tuple

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS


@MODELS.register_module()
class UpsamplingFPN(BaseModule):
    """FPN with transposed convolutions for finer and strided ones for coarser levels.

    For backbones such as MobileMamba whose first output has stride 16: laterals
    (1x1) are summed top-down as in an FPN; from the finest sum, 2x2 transposed
    convolutions with stride 2 lead to finer levels, each from the one before. Each
    level so far ends with a 3x3 convolution. Coarser levels are 3x3 convolutions
    with stride 2, the first from the backbone's last output. Neither norms nor
    activations.

    Args:
        in_channels: Channels of the inputs, from fine to coarse.
        out_channels: Channels of all outputs.
        finer_levels: Levels before the first input's.
        coarser_levels: Levels after the last input's.
        init_cfg: As mmengine has it; ``None`` initializes convolutions Xavier-uniform.

    Raises:
        ValueError: There are no inputs, or a number of levels is negative.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        finer_levels: int = 2,
        coarser_levels: int = 0,
        init_cfg: Optional[dict] = None,
    ) -> None:
        layers = ['Conv2d', 'ConvTranspose2d']
        super().__init__(init_cfg or dict(type='Xavier', layer=layers, distribution='uniform'))
        if not in_channels or finer_levels < 0 or coarser_levels < 0:
            raise ValueError(
                'UpsamplingFPN needs inputs, and numbers of levels of at least 0; got '
                f'in_channels={in_channels!r}, finer_levels={finer_levels}, '
                f'coarser_levels={coarser_levels}'
            )
        C, levels = out_channels, finer_levels + len(in_channels)
        sources = [in_channels[-1], *[C] * coarser_levels][:coarser_levels]
        self.laterals = nn.ModuleList(nn.Conv2d(c, C, 1) for c in in_channels)
        self.upsamplings = nn.ModuleList(
            nn.ConvTranspose2d(C, C, 2, stride=2) for _ in range(finer_levels)
        )
        self.outputs = nn.ModuleList(nn.Conv2d(C, C, 3, padding=1) for _ in range(levels))
        self.downsamplings = nn.ModuleList(nn.Conv2d(c, C, 3, stride=2, padding=1) for c in sources)

    def forward(self, inputs: Sequence[Tensor]) -> Tuple[Tensor, ...]:
        """Maps ``(batch, in_channels[i], H_i, W_i)`` to those of ``out_channels``, fine to coarse.

        Raises:
            ValueError: There are more or fewer inputs than ``in_channels`` has numbers.
        """
        if len(inputs) != len(self.laterals):
            raise ValueError(
                f'UpsamplingFPN was built for {len(self.laterals)} maps and got {len(inputs)}: '
                'its in_channels and the out_indices of the backbone must fit'
            )
        pyramid = [lateral(x) for lateral, x in zip(self.laterals, inputs, strict=True)]
        for i in range(len(pyramid) - 1, 0, -1):
            finer = pyramid[i - 1]
            pyramid[i - 1] = finer + F.interpolate(pyramid[i], finer.shape[-2:], mode='nearest')
        for upsampling in self.upsamplings:
            pyramid.insert(0, upsampling(pyramid[0]))
        maps = [output(x) for output, x in zip(self.outputs, pyramid, strict=True)]
        x = inputs[-1]
        for downsampling in self.downsamplings:
            x = downsampling(x)
            maps.append(x)
        return tuple(maps)
