"""Backbones, necks and heads; they need torch and mmengine only.

Those of :mod:`.classifiers` need mmpretrain, once they are built.
"""

from . import classifiers  # noqa: F401 - registers what it offers
from .backbones import EfficientVMamba, MobileMamba, TinyViM, VMamba
from .cuda_graphs import CUDAGraphs
from .heads import DistillationClassifier, NormClassifier
from .layers import LaplaceMixer
from .necks import UpsamplingFPN
from .reparameterize import reparameterize

__all__ = [
    'CUDAGraphs',
    'DistillationClassifier',
    'EfficientVMamba',
    'LaplaceMixer',
    'MobileMamba',
    'NormClassifier',
    'TinyViM',
    'UpsamplingFPN',
    'VMamba',
    'reparameterize',
]
