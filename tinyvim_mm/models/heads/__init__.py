"""Heads that belong to no toolbox."""

from .distillation_classifier import DistillationClassifier
from .ssd_head import build_ssd_head

__all__ = ['DistillationClassifier', 'build_ssd_head']
