"""Registries of this package, children of mmengine's.

``type='tinyvim_mm.TinyViM'`` therefore works from any scope without
``custom_imports``. mmengine hides an ImportError raised by this file, so it
must stay trivial.
"""

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import Registry

MODELS = Registry(
    'model', parent=MMENGINE_MODELS, scope='tinyvim_mm', locations=['tinyvim_mm.models']
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='tinyvim_mm',
    locations=['tinyvim_mm.optim'],
)
