"""Backbones; one file each."""

from .efficient_vmamba import EfficientVMamba
from .mobilemamba import MobileMamba
from .tinyvim import TinyViM
from .vmamba import VMamba

__all__ = ['EfficientVMamba', 'MobileMamba', 'TinyViM', 'VMamba']
