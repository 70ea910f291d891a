"""Inference on pictures and videos: what stands behind ``tools/demo.py``."""

from .command import build_parser, main

__all__ = ['build_parser', 'main']
