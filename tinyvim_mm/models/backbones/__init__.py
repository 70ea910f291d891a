"""Backbones; one file each."""

from .efficient_vmamba import EfficientVMamba
from .tinyvim import TinyViM
from .vmamba import VMamba

__all__ = ['EfficientVMamba', 'TinyViM', 'VMamba']
