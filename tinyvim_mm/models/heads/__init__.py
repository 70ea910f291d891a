"""Heads that belong to no toolbox."""

from .distillation_classifier import DistillationClassifier
from .norm_classifier import NormClassifier
from .ssd_head import build_ssd_head

__all__ = ['DistillationClassifier', 'NormClassifier', 'build_ssd_head']
