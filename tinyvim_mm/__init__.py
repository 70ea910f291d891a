"""TinyViM for OpenMMLab: backbone, SS2D operator and recipes.

Importing this package loads neither torch nor any OpenMMLab toolbox; its
classes live in :mod:`tinyvim_mm.models`, its operators in
:mod:`tinyvim_mm.ops`, and :func:`get_config` finds its recipes by name.
"""

from .recipes.zoo import get_config, list_models
from .version import __version__

__all__ = ['__version__', 'get_config', 'list_models']
