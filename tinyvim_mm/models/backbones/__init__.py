"""Backbones; one file each."""

from .tinyvim import TinyViM

__all__ = ['TinyViM']
