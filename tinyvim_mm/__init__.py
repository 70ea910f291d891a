"""Vision backbones with selective scans for mmdet, mmsegmentation, mmpretrain and timm.

The names in ``dir(tinyvim_mm)`` are classes and functions. Importing the package loads
none of them, neither torch nor a toolbox; using one loads what it needs, and says what to
install where that is missing.

Example:
    >>> import tinyvim_mm
    >>> backbone = tinyvim_mm.TinyViM('s')
    >>> cfg = tinyvim_mm.get_config('mask_rcnn_tinyvim_b_1x_coco')
    >>> cfg.model.backbone.type
    'tinyvim_mm.TinyViM'
"""

from typing import TYPE_CHECKING, Dict

from .core.lazy_names import PLACES, lazy_names
from .startup import install as _mend_what_is_imported
from .version import __version__ as __version__

_mend_what_is_imported()


def _backbones() -> Dict[str, str]:
    from .models.catalogue import backbone_modules  # operators load no models

    return backbone_modules()


if TYPE_CHECKING:  # what type checkers see
    from .datasets.camvid import CamVid as CamVid
    from .datasets.imagenette import Imagenette as Imagenette
    from .datasets.iou import IoUPerClass as IoUPerClass
    from .models.catalogue import *  # noqa: F403 - the backbones
    from .models.classifiers.distilled_classifier import DistilledClassifier as DistilledClassifier
    from .models.cuda_graphs import CUDAGraphs as CUDAGraphs
    from .models.heads.distillation_classifier import (
        DistillationClassifier as DistillationClassifier,
    )
    from .models.heads.distillation_head import DistillationHead as DistillationHead
    from .models.heads.norm_classifier import NormClassifier as NormClassifier
    from .models.heads.norm_head import NormHead as NormHead
    from .models.heads.ssd_head import SSDHead as SSDHead
    from .models.layers import SS2D as SS2D
    from .models.layers import LaplaceMixer as LaplaceMixer
    from .models.necks.upsampling_fpn import UpsamplingFPN as UpsamplingFPN
    from .models.reparameterization import reparameterize as reparameterize
    from .ops import scan_skipping as scan_skipping
    from .ops import selective_scan as selective_scan
    from .ops import ss2d as ss2d
    from .optim import CPUAmpOptimWrapper as CPUAmpOptimWrapper
    from .optim import RecipeOptimWrapperConstructor as RecipeOptimWrapperConstructor
    from .recipes.zoo import get_config as get_config
    from .recipes.zoo import list_models as list_models
    from .recipes.zoo import register_with_mmpretrain as register_with_mmpretrain
else:
    __getattr__, __dir__ = lazy_names(__name__, PLACES, _backbones)
