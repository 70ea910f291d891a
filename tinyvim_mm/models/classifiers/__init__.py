"""Classifiers and their heads for mmpretrain.

The classes derive from mmpretrain's, so their modules are imported when one
of them is built: the registry, and with it every detector and segmentor, works
where mmpretrain is not installed.
"""

from mmengine.model import BaseModule

from ...registry import MODELS

__all__ = ['build_distillation_head', 'build_distilled_classifier', 'build_norm_head']


@MODELS.register_module(name='DistilledClassifier')
def build_distilled_classifier(**cfg) -> BaseModule:
    """Build an :class:`tinyvim_mm.models.classifiers.distilled_classifier.DistilledClassifier`."""
    from .distilled_classifier import DistilledClassifier

    return DistilledClassifier(**cfg)


@MODELS.register_module(name='DistillationHead')
def build_distillation_head(**cfg) -> BaseModule:
    """Build a :class:`tinyvim_mm.models.classifiers.distillation_head.DistillationHead`."""
    from .distillation_head import DistillationHead

    return DistillationHead(**cfg)


@MODELS.register_module(name='NormHead')
def build_norm_head(**cfg) -> BaseModule:
    """Build a :class:`tinyvim_mm.models.classifiers.norm_head.NormHead`."""
    from .norm_head import NormHead

    return NormHead(**cfg)
