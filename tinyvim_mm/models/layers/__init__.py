"""Building blocks of the backbones."""

from .blocks import FFN, LocalBlock, TinyViMBlock
from .conv import AxialRepDWConv, ConvBN, RepDWConv
from .drop_path import DropPath
from .fuse import fuse_children
from .laplace_mixer import LaplaceMixer
from .norm import build_batch_norm
from .ss2d import SS2D

__all__ = [
    'FFN',
    'SS2D',
    'AxialRepDWConv',
    'ConvBN',
    'DropPath',
    'LaplaceMixer',
    'LocalBlock',
    'RepDWConv',
    'TinyViMBlock',
    'build_batch_norm',
    'fuse_children',
]
