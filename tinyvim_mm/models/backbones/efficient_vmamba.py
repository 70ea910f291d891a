"""EfficientVMamba: scans of every second pixel, then stages of convolutions."""

from dataclasses import dataclass, field
from typing import Any, Iterable, Optional

from torch import nn

from ...registry import MODELS
from ...weights.keys import KeyRules, literal_rules
from ..layers import ChannelNorm, EVSSBlock, InvertedResidual, PatchMerging, init_linear
from .architecture import Arch, ArchSpec
from .arguments import check_integer
from .base import Stage, StagedBackbone

_STAGES = 4
#: Stages that scan; the later ones are convolutions.
_SCANNING = 2
#: Blocks of a stage whose released names are known; published networks have 9 at most.
_MAX_BLOCKS = 32

_CONVOLUTIONS = (('conv_pw', 'expand'), ('conv_dw', 'dwconv'), ('conv_pw2', 'project'))


@dataclass(frozen=True)
class EfficientVMambaSpec(ArchSpec):
    """An EfficientVMamba."""

    d_state: int = 16
    drop_path_rate: float = field(default=0.1, compare=False)


@MODELS.register_module()
class EfficientVMamba(StagedBackbone):
    """EfficientVMamba backbone with multi-scale outputs.

    Two stages scan skip-sampled grids, two are inverted residual blocks. Outputs
    have strides 4, 8, 16 and 32; the stem rounds sizes down, the rest up.

    Args:
        arch: ``'t'``, ``'s'``, ``'b'``, or a dict with ``embed_dims`` and ``depths``,
            four integers each. The widths of S are those of the published weights
            and parameters; the paper's table gives those of B.
        norm_cfg: Of the batch norms, which are in the blocks; stem, mergings and outputs
            have layer norms, which stay.
        expansion: Channels of the scan per channel of a block; ``None`` takes the
            architecture's.
        common: Arguments of every backbone, see :class:`.StagedBackbone`.

    Example:
        >>> import torch
        >>> from tinyvim_mm.models import EfficientVMamba
        >>> backbone = EfficientVMamba(arch='t').eval()
        >>> for feature in backbone(torch.rand(1, 3, 200, 250)):
        ...     print(tuple(feature.shape))
        (1, 48, 50, 62)
        (1, 96, 25, 31)
        (1, 192, 13, 16)
        (1, 384, 7, 8)
    """

    arch_settings = {
        't': EfficientVMambaSpec((48, 96, 192, 384), (2, 2, 4, 2)),
        's': EfficientVMambaSpec((64, 128, 256, 512), (2, 2, 4, 2)),
        'b': EfficientVMambaSpec((96, 192, 384, 768), (2, 2, 9, 2)),
    }
    arch_type = EfficientVMambaSpec
    first_conv = 'stem.0'
    paper = ('EfficientVMamba: Atrous Selective Scan for Light Weight Visual Mamba', '2403.09977')
    #: What the stem's one convolution needs.
    min_size = 4
    classifier = {'type': 'tinyvim_mm.NormClassifier'}
    released_key_pairs = (
        *((f'^patch_embed.{n}.', f'^stem.{k}.') for n, k in ((0, 0), (2, 1))),
        *((f'^layers.{i}.downsample.', f'^stages.{i + 1}.downsample.') for i in range(_SCANNING)),
        *((f'^layers.{i}.blocks.', f'^stages.{i}.blocks.') for i in range(_SCANNING)),
        *(
            (f'^layers.{i}.{k + 1}.', f'^stages.{i}.blocks.{k}.')
            for i in range(_SCANNING, _STAGES)
            for k in range(_MAX_BLOCKS)
        ),
        *((f'^outnorm{i}.', f'^out_norms.{i}.') for i in range(_STAGES)),
        *((f'.op.{name}_proj.', f'.mixer.{name}_proj.') for name in ('in', 'out')),
        ('.op.conv2d.', '.mixer.conv.'),
        ('.op.', '.mixer.ss2d.'),
        ('.conv_branch.0.', '.branch.0.conv.'),
        ('.conv_branch.1.', '.branch.0.bn.'),
        ('.conv_branch.3.', '.branch.2.'),
        ('.se.norm.', '.gate.norm.'),
        ('.se.global_reduce.', '.gate.fc1.'),
        ('.se.channel_select.', '.gate.fc2.'),
        *(
            (f'.{released}.{n}.', f'.{own}.{part}.')
            for released, own in _CONVOLUTIONS
            for n, part in enumerate(('conv', 'bn'))
        ),
        ('.se.conv_reduce.', '.se.fc1.'),
        ('.se.conv_expand.', '.se.fc2.'),
    )
    # In the release, the merging after a stage of convolutions is its last entry but for an
    # unused one, at an index that depends on the number of blocks.
    released_key_rules = (
        (r'^layers\.2\.\d+\.(norm|reduction)\.', r'stages.3.downsample.\1.'),
        *literal_rules(released_key_pairs),
    )
    released_head_pairs = (('classifier.norm.', 'norm.'), ('classifier.head.', 'head.'))
    width_keys = ('norm.weight',) * _SCANNING + ('project.bn.weight',) * (_STAGES - _SCANNING)

    def __init__(self, arch: Arch = 't', *, expansion: Optional[int] = None, **common: Any) -> None:
        super().__init__(arch, **common)
        expansion = self.spec.expansion if expansion is None else expansion
        check_integer('expansion', expansion, 1)
        self.stem = nn.Sequential(
            nn.Conv2d(self.in_channels, self.embed_dims[0], 4, stride=4),
            ChannelNorm(self.embed_dims[0]),
        )
        self.stages = nn.ModuleList()
        for i in range(self.num_stages):
            width = self.embed_dims[i]
            blocks = [
                EVSSBlock(width, rate, self.norm_cfg, expansion=expansion, **self.scan)
                if i < _SCANNING
                else InvertedResidual(width, rate, self.norm_cfg)
                for rate in self.drop_paths[i]
            ]
            downsample = PatchMerging(self.embed_dims[i - 1], width) if i > 0 else None
            self.stages.append(Stage(blocks, downsample))
        self.complete(ChannelNorm, init_linear)

    @classmethod
    def rules_to_released(cls, keys: Iterable[str]) -> KeyRules:
        """See the base class; the merging after the third stage is numbered after its blocks."""
        blocks = {key.split('.')[3] for key in keys if key.startswith('stages.2.blocks.')}
        merging = ('^stages.3.downsample.', f'^layers.2.{len(blocks) + 2}.')
        return (*literal_rules([merging]), *super().rules_to_released(keys))
