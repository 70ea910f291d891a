"""Backbones, necks and heads; they need torch and mmengine only.

Those of :mod:`.classifiers` need mmpretrain, once they are built.
"""

from . import classifiers  # noqa: F401 - registers what it offers
from .backbones import MobileMamba, TinyViM
from .cuda_graphs import CUDAGraphs
from .heads import DistillationClassifier
from .layers import LaplaceMixer
from .necks import UpsamplingFPN
from .reparameterize import reparameterize

__all__ = [
    'CUDAGraphs',
    'DistillationClassifier',
    'LaplaceMixer',
    'MobileMamba',
    'TinyViM',
    'UpsamplingFPN',
    'reparameterize',
]
