"""Heads that belong to no toolbox."""

from .distillation_classifier import DistillationClassifier

__all__ = ['DistillationClassifier']
