"""Building blocks of the backbones."""

from .blocks import FFN, LocalBlock, TinyViMBlock
from .channels import ChannelNorm, PatchMerging, Pointwise, init_linear
from .conv import AxialRepDWConv, ConvBN, RepDWConv
from .drop_path import DropPath
from .fuse import fuse_children
from .laplace_mixer import LaplaceMixer
from .norm import build_batch_norm
from .scan_mixer import ScanMixer
from .squeeze_excite import SqueezeExcite
from .ss2d import SS2D, SkipSS2D
from .vmamba_blocks import MLP, EVSSBlock, InvertedResidual, NormGate, VSSBlock

__all__ = [
    'FFN',
    'MLP',
    'SS2D',
    'AxialRepDWConv',
    'ChannelNorm',
    'ConvBN',
    'DropPath',
    'EVSSBlock',
    'InvertedResidual',
    'LaplaceMixer',
    'LocalBlock',
    'NormGate',
    'PatchMerging',
    'Pointwise',
    'RepDWConv',
    'ScanMixer',
    'SkipSS2D',
    'SqueezeExcite',
    'TinyViMBlock',
    'VSSBlock',
    'build_batch_norm',
    'fuse_children',
    'init_linear',
]
