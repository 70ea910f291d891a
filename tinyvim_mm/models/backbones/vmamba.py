"""VMamba (NeurIPS 2024), second version: every map is scanned whole, in four directions."""

import re
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

from torch import Tensor, nn

from ...registry import MODELS
from ...weights.keys import literal_rules
from ..layers import ChannelNorm, VSSBlock, init_linear
from .architecture import ArchSpec
from .arguments import check_integer, check_scan
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
    """A VMamba.

    Attributes:
        expansion: Channels of the scan per channel of a block.
    """

    expansion: int = 2
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
        d_state: States per channel of the scan; ``None`` takes the architecture's.
        ssm_backend: Implementation of the scan; ``None`` takes the environment
            variable ``TINYVIM_SSM_BACKEND`` or else the best one.
        in_channels, out_indices, frozen_stages, norm_eval, drop_path_rate, with_cp,
            normalize_outputs, init_cfg: See :class:`.StagedBackbone`.

    Raises:
        ValueError: An argument is out of range; the message names it.

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

    def __init__(
        self,
        arch: Union[str, dict] = 't',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        norm_cfg: Optional[dict] = None,
        normalize_outputs: bool = True,
        expansion: Optional[int] = None,
        d_state: Optional[int] = None,
        ssm_backend: Optional[str] = None,
        init_cfg: Union[dict, List[dict], None] = None,
    ) -> None:
        super().__init__(
            arch,
            in_channels,
            out_indices,
            frozen_stages,
            norm_eval,
            drop_path_rate,
            with_cp,
            normalize_outputs,
            init_cfg,
        )
        check_scan(ssm_backend, d_state)
        if norm_cfg is not None:
            raise ValueError(
                f'norm_cfg must be None for a VMamba, got {norm_cfg!r}: it chooses batch norms, '
                'and this backbone has layer norms only; leave it out'
            )
        expansion = self.spec.expansion if expansion is None else expansion
        check_integer('expansion', expansion, 1)
        mixer = {
            'expansion': expansion,
            'd_state': d_state or self.spec.d_state,
            'ssm_backend': ssm_backend,
        }
        width = self.embed_dims[0]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width // 2, 3, stride=2, padding=1),
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
            blocks = [VSSBlock(width, rate, mixer) for rate in self.drop_paths[i]]
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
