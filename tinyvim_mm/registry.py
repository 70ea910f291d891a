"""Registries of this package, children of mmengine's.

``type='tinyvim_mm.TinyViM'`` therefore works from any scope without
``custom_imports``. mmengine hides an ImportError raised by this file, so it
must stay trivial.
"""

import importlib
from typing import Optional

import mmengine.registry as _parents
from mmengine.registry import Registry


class _PublicNames(Registry):
    """Registers what has a public name, by importing it, when it is asked for.

    So a network of one toolbox can be built where the others are not installed.
    """

    def get(self, key: str) -> Optional[type]:
        """As mmengine's; raises MissingPackageError where the class needs an absent toolbox."""
        if isinstance(key, str):
            getattr(importlib.import_module('tinyvim_mm'), key.removeprefix('tinyvim_mm.'), None)
        return super().get(key)


MODELS = _PublicNames(
    'model', parent=_parents.MODELS, scope='tinyvim_mm', locations=['tinyvim_mm.models']
)
DATASETS = _PublicNames(
    'dataset', parent=_parents.DATASETS, scope='tinyvim_mm', locations=['tinyvim_mm.datasets']
)
OPTIM_WRAPPER_CONSTRUCTORS = _PublicNames(
    'optimizer wrapper constructor',
    parent=_parents.OPTIM_WRAPPER_CONSTRUCTORS,
    scope='tinyvim_mm',
    locations=['tinyvim_mm.optim'],
)
OPTIM_WRAPPERS = _PublicNames(
    'optim_wrapper',
    parent=_parents.OPTIM_WRAPPERS,
    scope='tinyvim_mm',
    locations=['tinyvim_mm.optim'],
)
METRICS = _PublicNames(
    'metric', parent=_parents.METRICS, scope='tinyvim_mm', locations=['tinyvim_mm.datasets']
)
