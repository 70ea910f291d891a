"""Backbones and heads; they need torch and mmengine only."""

from .backbones import TinyViM
from .heads import DistillationClassifier
from .layers import LaplaceMixer

__all__ = ['DistillationClassifier', 'LaplaceMixer', 'TinyViM']
