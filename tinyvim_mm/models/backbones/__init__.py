"""Backbones; one file each."""

from .mobilemamba import MobileMamba
from .tinyvim import TinyViM

__all__ = ['MobileMamba', 'TinyViM']
