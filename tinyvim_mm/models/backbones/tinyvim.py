"""TinyViM: Frequency Decoupling for Tiny Hybrid Vision Mamba (ICCV 2025, arXiv 2411.17473)."""

from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from ...checkpoint import literal_rules
from ...ops.backends import BACKENDS
from ...registry import MODELS
from ..layers import ConvBN, LocalBlock, TinyViMBlock, build_batch_norm
from .arguments import check_flag, check_integer, check_number, check_per_stage
from .base import StagedBackbone


class Stage(nn.Module):
    """Downsampling, unless it is the first stage, and blocks.

    Args:
        blocks: Blocks of one width.
        downsample: What halves the resolution before them.
    """

    def __init__(self, blocks: Sequence[nn.Module], downsample: Optional[nn.Module] = None) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)


@MODELS.register_module()
class TinyViM(StagedBackbone):
    """TinyViM backbone with multi-scale outputs.

    The defaults build the released network; what the paper's text or its
    ablations do differently is an argument. Outputs have strides 4, 8, 16 and
    32, and ``ceil``-like sizes for inputs that are no multiple of 32.

    Args:
        arch: ``'s'``, ``'b'``, ``'l'`` (paper, Table 1), or a dict with
            ``embed_dims`` and ``depths``, four integers each.
        in_channels: Channels of the image.
        out_indices: Stages whose outputs are returned, of 0..3. Stages after the
            last of them are not built.
        frozen_stages: -1 freezes nothing, 0 the stem, ``n`` the stem and the
            first ``n`` stages.
        norm_eval: Whether batch norms keep their statistics while training.
        drop_path_rate: Stochastic depth of the last block; it rises linearly
            from 0 in the first.
        with_cp: Whether blocks are checkpointed to save memory.
        norm_cfg: Batch normalisation, ``dict(type='BN')`` or
            ``dict(type='SyncBN')`` with its arguments. ``None`` means BN.
        normalize_outputs: Whether each output goes through a batch norm of its
            own, as in dense prediction. Classification takes the raw output
            and normalises in its head.
        split_ratios: ``alpha`` per stage, the share of channels that is decoupled
            by frequency (frequency ramp inception, Sec. 3.3).
        pool_sizes: Per stage, the factor between its map and the grid of the
            scan. Released: ``(8, 4, 2, 1)``, that is stride 32 everywhere. As the
            paper's text describes it: ``(2, 2, 2, 2)``.
        high_residual: ``'add'`` (released) or ``'concat'`` (paper's text), see
            :class:`~tinyvim_mm.models.layers.LaplaceMixer`.
        laplacian_kernel: 3, 5, 7 or 9 (kernel ablation).
        scan_frequencies: ``'low'``, ``'high'``, ``'all'`` or ``'both'`` (frequency
            ablation).
        d_state: States per channel of the scan.
        ssm_backend: Implementation of the scan; ``None`` takes the environment
            variable ``TINYVIM_SSM_BACKEND`` or else the best one.
        init_cfg: mmengine's initialisation config. ``dict(type='Pretrained',
            checkpoint=...)`` takes released weights and this project's.

    Raises:
        TypeError: An argument is of another type; the message names it.
        ValueError: One is out of range; so does this.

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
        's': {'embed_dims': (48, 64, 168, 224), 'depths': (3, 3, 9, 6)},
        'b': {'embed_dims': (48, 96, 192, 384), 'depths': (4, 3, 10, 5)},
        'l': {'embed_dims': (64, 128, 384, 512), 'depths': (4, 4, 12, 6)},
    }
    #: Smallest height and width: one position on the coarsest grid.
    min_size = 32

    #: Parts of released keys and of this class's, from which both directions of a
    #: conversion come; see :func:`tinyvim_mm.checkpoint.literal_rules`.
    released_key_pairs = (
        ('^patch_embed.', '^stem.'),
        *((f'^network.{2 * i}.', f'^stages.{i}.blocks.') for i in range(4)),
        *((f'^network.{2 * i - 1}.proj.', f'^stages.{i}.downsample.') for i in range(1, 4)),
        *((f'^norm{2 * i}.', f'^out_norms.{i}.') for i in range(4)),
        ('.op.conv2d.dwconv_w.', '.mixer.laplacian.vertical.'),
        ('.op.conv2d.dwconv_h.', '.mixer.laplacian.horizontal.'),
        ('.op.local_conv.', '.mixer.high_conv.'),
        *(
            (f'.op.{name}', f'.mixer.ss2d.{name}')
            for name in ('x_proj_weight', 'dt_projs_', 'A_logs', 'Ds', 'out_norm.')
        ),
        *((f'.op.{name}.', f'.mixer.{name}.') for name in ('in_proj', 'out_proj')),
        ('.conv1.', '.conv1x1.'),
        # With the leaf: modules called `conv` occur in both layouts.
        ('.c.weight', '.conv.weight'),
    )
    released_key_rules = literal_rules(released_key_pairs)
    keys_that_may_be_fresh = (r'out_norms\.',)

    def __init__(
        self,
        arch: Union[str, dict] = 'b',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        norm_cfg: Optional[dict] = None,
        normalize_outputs: bool = True,
        split_ratios: Sequence[float] = (0.25, 0.5, 0.5, 0.75),
        pool_sizes: Sequence[int] = (8, 4, 2, 1),
        high_residual: str = 'add',
        laplacian_kernel: int = 7,
        scan_frequencies: str = 'low',
        d_state: int = 8,
        ssm_backend: Optional[str] = None,
        init_cfg: Union[dict, List[dict], None] = None,
    ) -> None:
        self.arch = arch if isinstance(arch, str) else 'custom'
        self.embed_dims, depths = self._read_arch(arch)
        num_stages = len(depths)
        check_integer('in_channels', in_channels, 1)
        check_integer('d_state', d_state, 1)
        check_integer('laplacian_kernel', laplacian_kernel)
        check_number('drop_path_rate', drop_path_rate)
        check_flag('normalize_outputs', normalize_outputs)
        check_per_stage('split_ratios', split_ratios, num_stages, check_number)
        check_per_stage('pool_sizes', pool_sizes, num_stages, check_integer, 1)
        if ssm_backend not in (None, 'auto', *BACKENDS):
            raise ValueError(
                f'ssm_backend must be None or one of {", ".join(["auto", *BACKENDS])}, '
                f'got {ssm_backend!r}'
            )
        super().__init__(num_stages, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        if not 0.0 <= drop_path_rate < 1.0:
            raise ValueError(f'drop_path_rate must be in [0, 1), got {drop_path_rate}')

        width = self.embed_dims[0]
        self.stem = nn.Sequential(
            ConvBN(in_channels, width // 2, 3, stride=2, norm_cfg=norm_cfg),
            nn.GELU(),
            ConvBN(width // 2, width, 3, stride=2, norm_cfg=norm_cfg),
            nn.GELU(),
        )
        # On the CPU: the model may be built on the meta device, whose tensors have no values.
        rates = torch.linspace(0, drop_path_rate, sum(depths), device='cpu')
        drop_paths = rates.split(list(depths))
        self.stages = nn.ModuleList()
        for i in range(self.num_stages):
            mixer = {
                'split_ratio': split_ratios[i],
                'pool_size': pool_sizes[i],
                'laplacian_kernel': laplacian_kernel,
                'scan_frequencies': scan_frequencies,
                'high_residual': high_residual,
                'd_state': d_state,
                'ssm_backend': ssm_backend,
            }
            # The last block of every stage mixes tokens, and one amid the third.
            mixing = {depths[i] - 1} | ({depths[i] // 2} if i == 2 else set())
            width = self.embed_dims[i]
            blocks = [
                TinyViMBlock(width, float(rate), norm_cfg, mixer)
                if j in mixing
                else LocalBlock(width, float(rate), norm_cfg)
                for j, rate in enumerate(drop_paths[i])
            ]
            downsample = None
            if i > 0:
                downsample = ConvBN(self.embed_dims[i - 1], width, 3, stride=2, norm_cfg=norm_cfg)
            self.stages.append(Stage(blocks, downsample))
        self.out_norms = nn.ModuleDict()
        if normalize_outputs:
            for i in self.out_indices:
                self.out_norms[str(i)] = build_batch_norm(norm_cfg, self.embed_dims[i])
        self.apply(_init_convolution)
        self.freeze_stages()

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Compute the feature maps.

        Args:
            x: ``(batch, in_channels, H, W)`` with ``H`` and ``W`` at least 32.

        Returns:
            One map per entry of ``out_indices``.

        Raises:
            ValueError: The input has not four axes or is smaller than 32.
        """
        if x.dim() != 4 or x.shape[2] < self.min_size or x.shape[3] < self.min_size:
            raise ValueError(
                f'{self.describe()} takes (batch, channels, H, W) with H and W of at least '
                f'{self.min_size}, got {tuple(x.shape)}; resize or pad the images'
            )
        x = self.stem(x)
        outputs = []
        for i, stage in enumerate(self.stages):
            if stage.downsample is not None:
                x = stage.downsample(x)
            for block in stage.blocks:
                x = self.run_block(block, x)
            if i in self.out_indices:
                outputs.append(self.out_norms[str(i)](x) if self.out_norms else x)
        return tuple(outputs)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """Place of a parameter in the network, for layer-wise learning rate decay.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: What that name begins with inside this backbone.

        Returns:
            Depth and number of layers: 0 is the stem, then each block counts
            one, with the downsampling before it; the output norms and all that
            follows the backbone are the last layer.
        """
        blocks = [len(stage.blocks) for stage in self.stages]
        num_layers = sum(blocks) + 2
        part = param_name[len(prefix) :].split('.') if param_name.startswith(prefix) else ['']
        if part[0] == 'stem':
            return 0, num_layers
        if part[0] == 'stages':
            index = int(part[3]) if part[2] == 'blocks' else 0
            return sum(blocks[: int(part[1])]) + index + 1, num_layers
        return num_layers - 1, num_layers

    @property
    def keys_left_aside(self) -> Tuple[Tuple[str, str], ...]:
        """(pattern, reason) of keys that this backbone knowingly does not use."""
        aside = [(r'(norm|head|dist_head)\.', 'classifier')]
        if not self.out_norms:
            aside.append((r'out_norms\.', 'outputs are not normalised here'))
        unused = [str(i) for i in range(len(self.embed_dims)) if i not in self.out_indices]
        if unused:
            aside.append((rf'out_norms\.({"|".join(unused)})\.', 'stage not in out_indices'))
        if self.num_stages < len(self.embed_dims):
            later = '|'.join(map(str, range(self.num_stages, len(self.embed_dims))))
            aside.append((rf'stages\.({later})\.', 'stage after the last of out_indices'))
        return tuple(aside)

    def describe(self) -> str:
        """Name with the architecture: ``TinyViM-B``."""
        return f'TinyViM-{self.arch.upper() if self.arch != "custom" else "custom"}'

    def recognise(self, state: Dict[str, Tensor]) -> str:
        """Say which architecture a checkpoint seems to be, from its widths."""
        arch = self.find_arch(state)
        if arch is not None and arch != self.arch:
            return f" It holds TinyViM-{arch.upper()}: build with arch='{arch}'."
        return '' if self._widths(state) else ' It holds no TinyViM.'

    @classmethod
    def find_arch(cls, state: Mapping[str, Tensor]) -> Optional[str]:
        """The architecture whose widths a state dict with this class's keys has, if any."""
        found = cls._widths(state)
        for arch, settings in cls.arch_settings.items():
            if found == settings['embed_dims']:
                return arch
        return None

    @staticmethod
    def _widths(state: Mapping[str, Tensor]) -> Tuple[int, ...]:
        scales = [state.get(f'stages.{i}.blocks.0.layer_scale') for i in range(4)]
        return tuple(len(scale) for scale in scales if scale is not None)

    @classmethod
    def _read_arch(cls, arch: Union[str, dict]) -> Tuple[Tuple[int, ...], Tuple[int, ...]]:
        if isinstance(arch, str):
            if arch not in cls.arch_settings:
                raise ValueError(
                    f'arch must be one of {", ".join(map(repr, cls.arch_settings))} or a dict, '
                    f'got {arch!r}'
                )
            arch = cls.arch_settings[arch]
        if not isinstance(arch, dict) or set(arch) != {'embed_dims', 'depths'}:
            raise ValueError(
                f"arch as a dict must have exactly the keys 'embed_dims' and 'depths', got {arch!r}"
            )
        for name, values in arch.items():
            least = 2 if name == 'embed_dims' else 1
            check_per_stage(f"arch['{name}']", values, 4, check_integer, least)
        return tuple(arch['embed_dims']), tuple(arch['depths'])


def _init_convolution(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
