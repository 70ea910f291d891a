"""Necks of detectors, for backbones that the toolboxes' own do not fit."""

from .upsampling_fpn import UpsamplingFPN

__all__ = ['UpsamplingFPN']
