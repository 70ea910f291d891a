"""Building blocks of the backbones."""

from .blocks import FFN, LocalBlock, ResidualFFN, TinyViMBlock
from .conv import AxialRepDWConv, ConvBN, RepDWConv, ResidualDWConv
from .drop_path import DropPath
from .fuse import fuse_children
from .laplace_mixer import LaplaceMixer
from .mobilemamba_blocks import MobileMambaBlock, Transition
from .mrffi import MRFFI
from .norm import build_batch_norm
from .squeeze_excite import SqueezeExcite
from .ss2d import SS2D
from .wte_mamba import WaveletConv, WTEMamba

__all__ = [
    'FFN',
    'MRFFI',
    'SS2D',
    'AxialRepDWConv',
    'ConvBN',
    'DropPath',
    'LaplaceMixer',
    'LocalBlock',
    'MobileMambaBlock',
    'RepDWConv',
    'ResidualDWConv',
    'ResidualFFN',
    'SqueezeExcite',
    'TinyViMBlock',
    'Transition',
    'WTEMamba',
    'WaveletConv',
    'build_batch_norm',
    'fuse_children',
]
