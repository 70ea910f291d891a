"""Whole detectors as exported: from an image to boxes, scores, labels and masks.

A module for each family computes what mmdet's ``predict`` does, behind the neck and before
anything is rescaled, in tensors of fixed shapes.
"""
