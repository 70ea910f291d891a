"""Building blocks of the backbones.

What many constructors take: ``channels``, of input and output; ``norm_cfg``, see
:func:`build_batch_norm`; ``drop_path``, the rate of stochastic depth; ``d_state``, states per
channel of the scan; ``ssm_backend``, implementation of the scan, see
:func:`tinyvim_mm.ops.ss2d`; further keywords of a block are arguments of its mixer.
"""

from .blocks import FFN, LocalBlock, ResidualFFN, TinyViMBlock
from .channels import ChannelNorm, PatchMerging, Pointwise, init_linear
from .conv import AxialRepDWConv, ConvBN, RepDWConv, ResidualDWConv
from .drop_path import DropPath
from .fuse import fuse_children
from .laplace_mixer import LaplaceMixer
from .mobilemamba_blocks import MobileMambaBlock, Transition
from .mrffi import MRFFI
from .norm import build_batch_norm
from .scan_mixer import ScanMixer
from .squeeze_excite import SqueezeExcite
from .ss2d import SS2D, SkipSS2D
from .vmamba_blocks import MLP, EVSSBlock, InvertedResidual, NormGate, VSSBlock
from .wte_mamba import WaveletConv, WTEMamba

__all__ = ['FFN', 'MLP', 'MRFFI', 'SS2D', 'AxialRepDWConv', 'ChannelNorm', 'ConvBN', 'DropPath']
__all__ += ['EVSSBlock', 'InvertedResidual', 'LaplaceMixer', 'LocalBlock', 'MobileMambaBlock']
__all__ += ['NormGate', 'PatchMerging', 'Pointwise', 'RepDWConv', 'ResidualDWConv', 'ResidualFFN']
__all__ += ['ScanMixer', 'SkipSS2D', 'SqueezeExcite', 'TinyViMBlock', 'Transition', 'VSSBlock']
__all__ += ['WTEMamba', 'WaveletConv', 'build_batch_norm', 'fuse_children', 'init_linear']
