"""TinyViM for OpenMMLab: backbone, SS2D operator and recipes.

Importing this package loads neither torch nor any OpenMMLab toolbox; its
classes live in :mod:`tinyvim_mm.models` and its operators in
:mod:`tinyvim_mm.ops`.
"""

from .version import __version__

__all__ = ['__version__']
