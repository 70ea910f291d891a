"""Heads that belong to no toolbox."""

from .distillation_classifier import DistillationClassifier
from .norm_classifier import NormClassifier

__all__ = ['DistillationClassifier', 'NormClassifier']
