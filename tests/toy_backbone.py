"""A backbone as anybody would add one: this file, and a line in the catalogue."""

from functools import partial

from torch import nn

from tinyvim_mm.models.backbones.architecture import ArchSpec
from tinyvim_mm.models.backbones.base import Stage, StagedBackbone
from tinyvim_mm.models.layers import ConvBN, ResidualDWConv, build_batch_norm
from tinyvim_mm.registry import MODELS


@MODELS.register_module()
class ToyNet(StagedBackbone):
    """Depthwise convolutions in two stages, of strides 4 and 8."""

    arch_settings = {
        'a': ArchSpec((8, 16), (1, 2), image_size=96),
        'b': ArchSpec((8, 24), (1, 2), image_size=64, drop_path_rate=0.1),
    }
    strides = (4, 8)
    min_size = 8
    classifier = {'type': 'tinyvim_mm.DistillationClassifier', 'distillation': False}
    width_keys = 'bn.weight'

    def __init__(
        self,
        arch='a',
        in_channels=3,
        out_indices=(0, 1),
        frozen_stages=-1,
        norm_eval=False,
        drop_path_rate=0.0,
        with_cp=False,
        norm_cfg=None,
        normalize_outputs=True,
        init_cfg=None,
    ):
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
        self.stem = nn.Sequential(
            ConvBN(in_channels, 4, 3, stride=2, norm_cfg=norm_cfg),
            nn.ReLU(),
            ConvBN(4, self.embed_dims[0], 3, stride=2, norm_cfg=norm_cfg),
        )
        self.stages = nn.ModuleList()
        for i in range(self.num_stages):
            width, downsample = self.embed_dims[i], None
            if i > 0:
                downsample = ConvBN(self.embed_dims[i - 1], width, 3, stride=2, norm_cfg=norm_cfg)
            blocks = [ResidualDWConv(width, 3, norm_cfg) for _ in self.drop_paths[i]]
            self.stages.append(Stage(blocks, downsample))
        self.complete(partial(build_batch_norm, norm_cfg))
