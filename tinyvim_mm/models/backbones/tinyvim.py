"""TinyViM (ICCV 2025): only the low frequencies of a share of the channels are scanned."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Sequence

from torch import nn

from ...registry import MODELS
from ...weights.keys import literal_rules
from ..layers import ConvBN, LocalBlock, TinyViMBlock, build_batch_norm
from .architecture import Arch, ArchSpec
from .arguments import check_integer, check_number, check_per_stage
from .base import Stage, StagedBackbone


@dataclass(frozen=True)
class TinyViMSpec(ArchSpec):
    """A TinyViM: paper, Table 1."""

    d_state: int = 8
    crop_share: float = field(default=0.9, compare=False)


@MODELS.register_module()
class TinyViM(StagedBackbone):
    """TinyViM backbone with multi-scale outputs.

    The defaults build the released network; what the paper's text or its
    ablations do differently is an argument. Outputs have strides 4, 8, 16 and
    32, and ``ceil``-like sizes for inputs that are no multiple of 32.

    Args:
        arch: ``'s'``, ``'b'``, ``'l'`` (paper, Table 1), or a dict with
            ``embed_dims`` and ``depths``, four integers each.
        split_ratios: ``alpha`` per stage, the share of channels that is decoupled
            by frequency (frequency ramp inception, Sec. 3.3).
        pool_sizes: Per stage, the factor between its map and the grid of the
            scan. Released: ``(8, 4, 2, 1)``, that is stride 32 everywhere. As the
            paper's text describes it: ``(2, 2, 2, 2)``.
        high_residual: ``'add'`` (released) or ``'concat'`` (paper's text), see
            :class:`~tinyvim_mm.models.layers.LaplaceMixer`.
        laplacian_kernel: 3, 5, 7 or 9 (kernel ablation).
        scan_frequencies: ``'low'``, ``'high'``, ``'all'`` or ``'both'`` (frequency
            ablation); ``'none'`` scans nothing.
        common: Arguments of every backbone, see :class:`.StagedBackbone`.

    Example:
        >>> import torch
        >>> from tinyvim_mm.models import TinyViM
        >>> backbone = TinyViM(arch='s').eval()
        >>> for feature in backbone(torch.rand(1, 3, 200, 250)):
        ...     print(tuple(feature.shape))
        (1, 48, 50, 63)
        (1, 64, 25, 32)
        (1, 168, 13, 16)
        (1, 224, 7, 8)
    """

    arch_settings = {
        's': TinyViMSpec((48, 64, 168, 224), (3, 3, 9, 6)),
        'b': TinyViMSpec((48, 96, 192, 384), (4, 3, 10, 5)),
        'l': TinyViMSpec((64, 128, 384, 512), (4, 4, 12, 6)),
    }
    arch_type = TinyViMSpec
    paper = ('TinyViM: Frequency Decoupling for Tiny Hybrid Vision Mamba', '2411.17473')
    #: One position on the coarsest grid.
    min_size = 32

    released_key_pairs = (
        ('^patch_embed.', '^stem.'),
        *((f'^network.{2 * i}.', f'^stages.{i}.blocks.') for i in range(4)),
        *((f'^network.{2 * i - 1}.proj.', f'^stages.{i}.downsample.') for i in range(1, 4)),
        *((f'^norm{2 * i}.', f'^out_norms.{i}.') for i in range(4)),
        ('.op.conv2d.dwconv_w.', '.mixer.laplacian.vertical.'),
        ('.op.conv2d.dwconv_h.', '.mixer.laplacian.horizontal.'),
        ('.op.local_conv.', '.mixer.high_conv.'),
        *((f'.op.{n}', f'.mixer.ss2d.{n}') for n in ('x_proj_weight', 'dt_projs_', 'A_logs', 'Ds')),
        ('.op.out_norm.', '.mixer.ss2d.out_norm.'),
        *((f'.op.{name}.', f'.mixer.{name}.') for name in ('in_proj', 'out_proj')),
        ('.conv1.', '.conv1x1.'),
        # With the leaf: modules called `conv` occur in both layouts.
        ('.c.weight', '.conv.weight'),
    )
    released_key_rules = literal_rules(released_key_pairs)
    released_head_pairs = (('norm.', 'norm.'), ('head.', 'head.'), ('dist_head.', 'dist_head.'))
    # The form that trains has a layer scale in every first block.
    width_keys = 'layer_scale'

    def __init__(
        self,
        arch: Arch = 'b',
        *,
        split_ratios: Sequence[float] = (0.25, 0.5, 0.5, 0.75),
        pool_sizes: Sequence[int] = (8, 4, 2, 1),
        high_residual: str = 'add',
        laplacian_kernel: int = 7,
        scan_frequencies: str = 'low',
        **common: Any,
    ) -> None:
        super().__init__(arch, **common)
        depths = self.spec.depths
        check_integer('laplacian_kernel', laplacian_kernel)
        check_per_stage('split_ratios', split_ratios, len(depths), check_number)
        check_per_stage('pool_sizes', pool_sizes, len(depths), check_integer, 1)

        norm_cfg, width = self.norm_cfg, self.embed_dims[0]
        self.stem = nn.Sequential(
            ConvBN(self.in_channels, width // 2, 3, stride=2, norm_cfg=norm_cfg),
            nn.GELU(),
            ConvBN(width // 2, width, 3, stride=2, norm_cfg=norm_cfg),
            nn.GELU(),
        )
        self.stages = nn.ModuleList()
        for i in range(self.num_stages):
            mixer = {
                'split_ratio': split_ratios[i],
                'pool_size': pool_sizes[i],
                'laplacian_kernel': laplacian_kernel,
                'scan_frequencies': scan_frequencies,
                'high_residual': high_residual,
                **self.scan,
            }
            # The last block of every stage mixes tokens, and one amid the third.
            mixing = {depths[i] - 1} | ({depths[i] // 2} if i == 2 else set())
            width = self.embed_dims[i]
            blocks = [
                TinyViMBlock(width, rate, norm_cfg, **mixer)
                if j in mixing
                else LocalBlock(width, rate, norm_cfg)
                for j, rate in enumerate(self.drop_paths[i])
            ]
            before = self.embed_dims[i - 1]
            downsample = ConvBN(before, width, 3, stride=2, norm_cfg=norm_cfg) if i > 0 else None
            self.stages.append(Stage(blocks, downsample))
        self.complete(partial(build_batch_norm, norm_cfg), _init_convolution)


def _init_convolution(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
