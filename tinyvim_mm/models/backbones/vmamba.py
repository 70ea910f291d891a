"""VMamba: Visual State Space Model (NeurIPS 2024, arXiv 2401.10166), second version."""

import re
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

from torch import Tensor, nn

from ...registry import MODELS
from ...weights.files import literal_rules
from ..layers import ChannelNorm, VSSBlock, init_linear
from .arguments import check_integer, check_shared, linear_drop_paths, read_arch
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


@MODELS.register_module()
class VMamba(StagedBackbone):
    """VMamba backbone with multi-scale outputs, in the form of the second release.

    Outputs have strides 4, 8, 16 and 32; every size rounds up. All of them are
    scanned at full resolution, in four directions.

    Args:
        arch: ``'t'`` (released as ``[s1l8]``), ``'t_s2l5'``, ``'s'``, ``'b'``, or a
            dict with ``embed_dims`` and ``depths``, four integers each.
        in_channels: Channels of the image.
        out_indices: Stages whose outputs are returned, of 0..3. Stages after the
            last of them are not built.
        frozen_stages: -1 freezes nothing, 0 the stem, ``n`` the stem and the
            first ``n`` stages.
        norm_eval: Has no effect: there is no batch norm.
        drop_path_rate: Stochastic depth of the last block; it rises linearly
            from 0 in the first. Published: 0.2 for T, 0.3 for S, 0.6 for B.
        with_cp: Whether blocks are checkpointed to save memory.
        normalize_outputs: Whether each output goes through a layer norm of its
            own, as in dense prediction. Classification takes the raw output
            and normalises in its head.
        expansion: Channels of the scan per channel of a block; ``None`` takes the
            released one, which is 1 for ``'t'`` and else 2.
        d_state: States per channel of the scan.
        ssm_backend: Implementation of the scan; ``None`` takes the environment
            variable ``TINYVIM_SSM_BACKEND`` or else the best one.
        init_cfg: mmengine's initialisation config. ``dict(type='Pretrained',
            checkpoint=...)`` takes released weights and this project's.

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
        't': {'embed_dims': (96, 192, 384, 768), 'depths': (2, 2, 8, 2)},
        't_s2l5': {'embed_dims': (96, 192, 384, 768), 'depths': (2, 2, 5, 2)},
        's': {'embed_dims': (96, 192, 384, 768), 'depths': (2, 2, 15, 2)},
        'b': {'embed_dims': (128, 256, 512, 1024), 'depths': (2, 2, 15, 2)},
    }
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
    keys_that_may_be_fresh = (r'out_norms\.',)

    def __init__(
        self,
        arch: Union[str, dict] = 't',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        normalize_outputs: bool = True,
        expansion: Optional[int] = None,
        d_state: int = 1,
        ssm_backend: Optional[str] = None,
        init_cfg: Union[dict, List[dict], None] = None,
    ) -> None:
        self.arch, self.embed_dims, depths = read_arch(arch, self.arch_settings, _STAGES)
        check_shared(in_channels, normalize_outputs, ssm_backend, d_state)
        if expansion is None:
            expansion = 1 if self.arch == 't' else 2
        check_integer('expansion', expansion, 1)
        super().__init__(_STAGES, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        mixer = {'expansion': expansion, 'd_state': d_state, 'ssm_backend': ssm_backend}
        width = self.embed_dims[0]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width // 2, 3, stride=2, padding=1),
            ChannelNorm(width // 2),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            ChannelNorm(width),
        )
        drop_paths = linear_drop_paths(drop_path_rate, depths)
        self.stages = nn.ModuleList()
        for i in range(self.num_stages):
            width, downsample = self.embed_dims[i], None
            if i > 0:
                downsample = nn.Sequential(
                    nn.Conv2d(self.embed_dims[i - 1], width, 3, stride=2, padding=1),
                    ChannelNorm(width),
                )
            blocks = [VSSBlock(width, rate, mixer) for rate in drop_paths[i]]
            self.stages.append(Stage(blocks, downsample))
        self.out_norms = nn.ModuleDict()
        if normalize_outputs:
            for i in self.out_indices:
                self.out_norms[str(i)] = ChannelNorm(self.embed_dims[i])
        self.apply(init_linear)
        self.freeze_stages()

    @classmethod
    def translate(
        cls, state: Mapping[str, Tensor], origin: str = 'the checkpoint'
    ) -> Dict[str, Tensor]:
        """See the base class; projections that are stored as 1x1 convolutions become matrices."""
        return {
            key: value.flatten(1) if _PROJECTION.search(key) and value.dim() == 4 else value
            for key, value in super().translate(state, origin).items()
        }

    @classmethod
    def stage_widths(cls, state: Mapping[str, Tensor]) -> Tuple[int, ...]:
        """See the base class."""
        norms = [state.get(f'stages.{i}.blocks.0.norm.weight') for i in range(_STAGES)]
        # A checkpoint of EfficientVMamba has such norms in two stages.
        return tuple(len(norm) for norm in norms if norm is not None)

    @classmethod
    def find_arch(cls, state: Mapping[str, Tensor]) -> Optional[str]:
        """The architecture whose widths and depths a state dict with this class's keys has."""
        places = {tuple(key.split('.')[1:4]) for key in state if key.startswith('stages.')}
        found = {
            'embed_dims': cls.stage_widths(state),
            'depths': tuple(
                sum(place[:2] == (str(i), 'blocks') for place in places) for i in range(_STAGES)
            ),
        }
        for arch, settings in cls.arch_settings.items():
            if found == settings:
                return arch
        return None
