"""MobileMamba (CVPR 2025): from stride 16 on, with scans, wavelets and local convolutions."""

from functools import partial
from itertools import pairwise
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from torch import Tensor, nn

from ...registry import MODELS
from ...weights.keys import literal_rules
from ..layers import ConvBN, MobileMambaBlock, Transition, build_batch_norm
from ..layers.haar import haar_filters
from .architecture import Arch, ArchSpec
from .arguments import check_integer, check_number, check_per_stage
from .base import Stage, StagedBackbone

_STAGES = 3
#: Blocks of a stage whose released names are known; published networks have 3 at most.
_MAX_BLOCKS = 16
_MIXER = '.mixer.m.attn.'
_SCAN = f'{_MIXER}global_op.global_atten.'
_WAVELET = '.mrffi.wte.wavelet.'


def _key_pairs() -> Tuple[Tuple[str, str], ...]:
    """Released and own parts of keys; special ones come before general ones."""
    pairs = [('^patch_embed.', '^stem.'), ('^blocks1.', '^stages.0.blocks.')]
    for i in range(1, _STAGES):
        # In a released stage 0, 1 and 2 are the units around and the merging, 3 the first block.
        stage, released = f'^stages.{i}.', f'^blocks{i + 1}.'
        for index, units in ((0, 'before'), (2, 'after')):
            own = f'{stage}downsample.{units}.'
            pairs += [
                (f'{released}{index}.{k}.m.', own + n) for k, n in ((0, 'dwconv.'), (1, 'mlp.'))
            ]
        merge = f'{stage}downsample.merge.'
        parts = (('conv1.', 'expand.'), ('conv2.', 'dwconv.'), ('conv3.', 'project.'), ('se.',) * 2)
        pairs += [(f'{released}1.{theirs}', merge + own) for theirs, own in parts]
        pairs += [(f'{released}{3 + j}.', f'{stage}blocks.{j}.') for j in range(_MAX_BLOCKS)]
    for k in range(2):
        pairs += [(f'.dw{k}.m.', f'.dwconv{k}.'), (f'.ffn{k}.m.', f'.mlp{k}.')]
    for k in (1, 2):
        # With the leaf: a squeeze has a part called `fc1` in both layouts.
        pairs += [(f'.pw{k}.c.', f'.fc{k}.conv.'), (f'.pw{k}.bn.', f'.fc{k}.bn.')]
    pairs += [
        (f'{_MIXER}local_op.dwconv3x3.', '.mrffi.local.0.conv.'),
        (f'{_MIXER}local_op.bn1.', '.mrffi.local.0.bn.'),
        (f'{_MIXER}local_op.dwconv1x1.', '.mrffi.local.2.conv.'),
        (f'{_MIXER}local_op.bn2.', '.mrffi.local.2.bn.'),
        (f'{_MIXER}global_op.base_scale.weight', '.mrffi.wte.base_scale'),
        (f'{_MIXER}global_op.wavelet_convs.0.', f'{_WAVELET}conv.'),
        (f'{_MIXER}global_op.wavelet_scale.0.weight', f'{_WAVELET}scale'),
        (f'{_MIXER}global_op.wt_filter', f'{_WAVELET}wt_filter'),
        (f'{_MIXER}global_op.iwt_filter', f'{_WAVELET}iwt_filter'),
        (f'{_SCAN}in_proj.', '.mrffi.wte.in_proj.'),
        (f'{_SCAN}conv2d.', '.mrffi.wte.dwconv.'),
        (f'{_SCAN}out_proj.', '.mrffi.wte.out_proj.'),
        (_SCAN, '.mrffi.wte.ss2d.'),
        (f'{_MIXER}proj.1.', '.mrffi.proj.'),
        ('.c.weight', '.conv.weight'),
    ]
    return tuple(pairs)


@MODELS.register_module()
class MobileMamba(StagedBackbone):
    """MobileMamba backbone with multi-scale outputs.

    Three stages with outputs of strides 16, 32 and 64, sizes rounded up. Index 0
    of ``out_indices`` is the first stage; the output of the stem, which has the
    stride of the first stage, is not among them: no published network uses it.

    Args:
        arch: ``'t2'``, ``'t4'``, ``'s6'``, ``'b1'``, ``'b2'``, ``'b4'`` (paper,
            Table 2), or a dict with ``embed_dims`` and ``depths``, three integers
            each. B1, B2 and B4 are one network, trained with images of different
            sizes.
        global_ratios: Per stage, the share of channels that is scanned.
        local_ratios: Per stage, the share of channels with a local branch.
        kernel_sizes: Per stage, of the local and the wavelet branch, odd.
        common: Arguments of every backbone, see :class:`.StagedBackbone`.

    Example:
        >>> import torch
        >>> from tinyvim_mm.models import MobileMamba
        >>> backbone = MobileMamba(arch='t2').eval()
        >>> for feature in backbone(torch.rand(1, 3, 200, 250)):
        ...     print(tuple(feature.shape))
        (1, 144, 13, 16)
        (1, 272, 7, 8)
        (1, 368, 4, 4)
    """

    arch_settings = {
        't2': ArchSpec((144, 272, 368), (1, 2, 2), image_size=192),
        't4': ArchSpec((176, 368, 448), (1, 2, 2), image_size=192),
        's6': ArchSpec((192, 384, 448), (1, 2, 2)),
        **{
            name: ArchSpec((200, 376, 448), (2, 3, 2), image_size=size, drop_path_rate=0.03)
            for name, size in (('b1', 256), ('b2', 384), ('b4', 512))
        },
    }
    paper = ('MobileMamba: Lightweight Multi-Receptive Visual Mamba Network', '2411.15941')
    strides = (16, 32, 64)
    classifier = {
        'type': 'tinyvim_mm.DistillationClassifier',
        'distillation': False,
        'norm_after_pool': True,
    }
    released_key_pairs = _key_pairs()
    released_key_rules = literal_rules(released_key_pairs)
    released_head_pairs = (
        ('head.bn.', 'norm.'),
        ('head.l.', 'head.'),
        ('head_dist.bn.', 'dist_norm.'),
        ('head_dist.l.', 'dist_head.'),
    )
    width_keys = 'mrffi.proj.bn.weight'

    def __init__(
        self,
        arch: Arch = 'b1',
        *,
        normalize_outputs: bool = False,
        global_ratios: Sequence[float] = (0.8, 0.7, 0.6),
        local_ratios: Sequence[float] = (0.2, 0.2, 0.3),
        kernel_sizes: Sequence[int] = (7, 5, 3),
        **common: Any,
    ) -> None:
        super().__init__(arch, normalize_outputs=normalize_outputs, **common)
        check_per_stage('global_ratios', global_ratios, _STAGES, check_number)
        check_per_stage('local_ratios', local_ratios, _STAGES, check_number)
        check_per_stage('kernel_sizes', kernel_sizes, _STAGES, check_integer, 1)
        if any(size % 2 == 0 for size in kernel_sizes):
            raise ValueError(f'kernel_sizes must be odd, got {kernel_sizes!r}')
        if self.embed_dims[0] % 8:
            raise ValueError(
                f"arch['embed_dims'] must begin with a multiple of 8, got {self.embed_dims!r}"
            )

        norm_cfg = self.norm_cfg
        self.stem = _stem(self.in_channels, self.embed_dims[0], norm_cfg)
        self.stages = nn.ModuleList()
        for i in range(self.num_stages):
            mixer = {
                'global_ratio': global_ratios[i],
                'local_ratio': local_ratios[i],
                'kernel_size': kernel_sizes[i],
                **self.scan,
            }
            width, rates = self.embed_dims[i], self.drop_paths[i]
            blocks = [MobileMambaBlock(width, rate, norm_cfg, **mixer) for rate in rates]
            downsample = Transition(self.embed_dims[i - 1], width, norm_cfg) if i > 0 else None
            self.stages.append(Stage(blocks, downsample))
        self.complete(partial(build_batch_norm, norm_cfg))

    @classmethod
    def released_constants(cls, state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
        """The Haar filters, which released weights hold beside each wavelet convolution."""
        constants = {}
        for key, value in state.items():
            place, found, _ = key.partition(f'{_WAVELET}conv.weight')
            if found:
                filters = haar_filters(len(value) // 4)
                constants[f'{place}{_WAVELET}wt_filter'] = filters
                constants[f'{place}{_WAVELET}iwt_filter'] = filters.clone()
        return constants


def _stem(in_channels: int, width: int, norm_cfg: Optional[dict]) -> nn.Sequential:
    """Four convolutions to stride 16."""
    widths = (in_channels, width // 8, width // 4, width // 2, width)
    layers: List[Any] = []
    for before, after in pairwise(widths):
        layers += [ConvBN(before, after, 3, stride=2, norm_cfg=norm_cfg), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
