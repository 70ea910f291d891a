"""The configs of this project by name, here and in the look-up of the toolboxes.

What works, after ``pip install`` and in a clone alike:

- ``tinyvim_mm.get_config(name)``: the config, for every toolbox. Its result is
  what ``DetInferencer(model=...)`` and ``MMSegInferencer(model=...)`` of mmdet
  and mmseg take, with ``weights=`` a checkpoint, and ``mmpretrain.get_model``.
- ``mmpretrain.get_model(name)`` and ``mmpretrain.list_models()``, once
  :func:`register_with_mmpretrain` was called: mmpretrain asks no other package
  for models by itself.
- ``_base_ = 'tinyvim_mm::mmdet/NAME.py'`` in a config of one's own, in every process of
  an environment with the package, see :mod:`tinyvim_mm.startup`.

What does not: a name with ``scope='tinyvim_mm'`` in the inferencers. A scope of
theirs means the registry that everything is built from, and this package's
holds no detectors; and they expect hosted weights beside each name.
"""

import fnmatch
from typing import TYPE_CHECKING, List

from ..core import environment
from ..core.paths import CONFIG_ROOT, PROJECT_ROOT
from .configs import find_config, list_configs, load_config

if TYPE_CHECKING:
    from mmengine.config import Config


def list_models(pattern: str = '*') -> List[str]:
    """Names of the configs, sorted, that fit a pattern such as ``'mask_rcnn_*'``."""
    return sorted(fnmatch.filter((path.stem for path in list_configs()), pattern))


def get_config(name: str) -> 'Config':
    """Load a config of this project.

    Args:
        name: One of :func:`list_models`, or the path of a config.

    Raises:
        UsageError: There is no such config; the message names the nearest.
        MissingPackageError: The toolbox that it is for is missing.

    Example:
        >>> import tinyvim_mm
        >>> cfg = tinyvim_mm.get_config('mask_rcnn_tinyvim_b_1x_coco')
        >>> cfg.model.backbone.arch
        'b'
    """
    environment.require('torch', 'mmengine', purpose='get_config')
    from ..core import compat

    compat.apply()
    return load_config(find_config(name))


def register_with_mmpretrain() -> List[str]:
    """Put the classifiers into mmpretrain's ``ModelHub``, in this process.

    Returns:
        Their names. A second call changes nothing.

    Raises:
        MissingPackageError: mmpretrain is missing or fails to import.

    Example:
        >>> from tinyvim_mm.recipes.zoo import register_with_mmpretrain
        >>> register_with_mmpretrain()
        >>> import mmpretrain
        >>> model = mmpretrain.get_model('tinyvim_s_300e_in1k', pretrained='FILE')
    """
    from ..core import compat

    compat.apply()
    environment.require('mmpretrain', purpose='register_with_mmpretrain')
    from mmpretrain.apis import ModelHub

    names = [path.stem for path in sorted((CONFIG_ROOT / 'mmpretrain').glob('*.py'))]
    if not all(map(ModelHub.has, names)):
        # The one metafile: the other toolboxes' models mean nothing to mmpretrain.
        ModelHub.register_model_index(
            CONFIG_ROOT / 'mmpretrain' / 'metafile.yml', config_prefix=PROJECT_ROOT
        )
    return names
