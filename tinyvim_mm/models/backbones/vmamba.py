"""VMamba (NeurIPS 2024), second version: every map is scanned whole, in four directions."""

import re
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple

from torch import Tensor, nn

from ...registry import MODELS
from ...weights.keys import literal_rules
from ..layers import ChannelNorm, VSSBlock, init_linear
from .architecture import Arch, ArchSpec
from .arguments import check_integer
from .base import Stage, StagedBackbone

_STAGES = 4
#: Matrices that some releases store as 1x1 convolutions.
_PROJECTION = re.compile(r'\.(in_proj|out_proj|fc1|fc2)\.weight$')
#: Names of older releases, and those of the newest.
_FORMER_NAMES = (
    ('^patch_embed.proj.', '^patch_embed.0.'),
    ('^patch_embed.norm.', '^patch_embed.2.'),
    ('.ln_1.', '.norm.'),
    ('.self_attention.', '.op.'),
    ('^norm.', '^classifier.norm.'),
    ('^head.', '^classifier.head.'),
)


@dataclass(frozen=True)
class VMambaSpec(ArchSpec):
    """A VMamba."""

    # Vectors take none; A_logs is a matrix, and does.
    no_weight_decay: Tuple[str, ...] = field(default=(), compare=False)


@MODELS.register_module()
class VMamba(StagedBackbone):
    """VMamba backbone with multi-scale outputs, in the form of the second release.

    Outputs have strides 4, 8, 16 and 32; every size rounds up. All of them are
    scanned at full resolution, in four directions.

    Args:
        arch: ``'t'`` (released as ``[s1l8]``), ``'t_s2l5'``, ``'s'``, ``'b'``, or a
            dict with ``embed_dims`` and ``depths``, four integers each.
        norm_cfg: ``None``: there is no batch norm to choose, all norms are layer norms.
        expansion: Channels of the scan per channel of a block; ``None`` takes the
            architecture's.
        common: Arguments of every backbone, see :class:`.StagedBackbone`.

    Example:
        >>> import torch
        >>> from tinyvim_mm.models import VMamba
        >>> backbone = VMamba(arch='t').eval()
        >>> for feature in backbone(torch.rand(1, 3, 50, 66)):
        ...     print(tuple(feature.shape))
        (1, 96, 13, 17)
        (1, 192, 7, 9)
        (1, 384, 4, 5)
        (1, 768, 2, 3)
    """

    arch_settings = {
        't': VMambaSpec((96, 192, 384, 768), (2, 2, 8, 2), expansion=1, drop_path_rate=0.2),
        't_s2l5': VMambaSpec((96, 192, 384, 768), (2, 2, 5, 2), drop_path_rate=0.2),
        's': VMambaSpec((96, 192, 384, 768), (2, 2, 15, 2), drop_path_rate=0.3),
        'b': VMambaSpec((128, 256, 512, 1024), (2, 2, 15, 2), drop_path_rate=0.6),
    }
    arch_type = VMambaSpec
    first_conv = 'stem.0'
    paper = ('VMamba: Visual State Space Model', '2401.10166')
    classifier = {'type': 'tinyvim_mm.NormClassifier'}
    released_key_pairs = (
        *((f'^patch_embed.{n}.', f'^stem.{k}.') for n, k in ((0, 0), (2, 1), (5, 3), (7, 4))),
        *(
            (f'^layers.{i}.downsample.{n}.', f'^stages.{i + 1}.downsample.{k}.')
            for i in range(_STAGES - 1)
            for n, k in ((1, 0), (3, 1))
        ),
        *((f'^layers.{i}.', f'^stages.{i}.') for i in range(_STAGES)),
        *((f'^outnorm{i}.', f'^out_norms.{i}.') for i in range(_STAGES)),
        *((f'.op.{name}_proj.', f'.mixer.{name}_proj.') for name in ('in', 'out')),
        ('.op.conv2d.', '.mixer.conv.'),
        ('.op.', '.mixer.ss2d.'),
    )
    released_key_rules = literal_rules((*_FORMER_NAMES, *released_key_pairs))
    released_head_pairs = (('classifier.norm.', 'norm.'), ('classifier.head.', 'head.'))
    width_keys = 'norm.weight'

    def __init__(self, arch: Arch = 't', *, expansion: Optional[int] = None, **common: Any) -> None:
        super().__init__(arch, **common)
        if self.norm_cfg is not None:
            raise ValueError(
                f'norm_cfg must be None for a VMamba, got {self.norm_cfg!r}: it chooses batch '
                'norms, and this backbone has layer norms only; leave it out'
            )
        expansion = self.spec.expansion if expansion is None else expansion
        check_integer('expansion', expansion, 1)
        width = self.embed_dims[0]
        self.stem = nn.Sequential(
            nn.Conv2d(self.in_channels, width // 2, 3, stride=2, padding=1),
            ChannelNorm(width // 2),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            ChannelNorm(width),
        )
        self.stages = nn.ModuleList()
        for i in range(self.num_stages):
            width, downsample = self.embed_dims[i], None
            if i > 0:
                downsample = nn.Sequential(
                    nn.Conv2d(self.embed_dims[i - 1], width, 3, stride=2, padding=1),
                    ChannelNorm(width),
                )
            rates = self.drop_paths[i]
            blocks = [VSSBlock(width, rate, expansion=expansion, **self.scan) for rate in rates]
            self.stages.append(Stage(blocks, downsample))
        self.complete(ChannelNorm, init_linear)

    @classmethod
    def translate(
        cls, state: Mapping[str, Tensor], origin: str = 'the checkpoint'
    ) -> Dict[str, Tensor]:
        """See the base class; projections that are stored as 1x1 convolutions become matrices."""
        return {
            key: value.flatten(1) if _PROJECTION.search(key) and value.dim() == 4 else value
            for key, value in super().translate(state, origin).items()
        }
