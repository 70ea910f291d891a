"""Heads, one file each.

Those that are called classifiers need torch and mmengine only; :class:`.DistillationHead` and
:class:`.NormHead` add the losses of mmpretrain to them, and :class:`.SSDHead` is mmdet's.
"""
