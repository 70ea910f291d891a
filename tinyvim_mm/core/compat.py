"""Mends for known bugs of the packages around this one, all in one place."""

import functools
import importlib.util
from importlib import metadata
from typing import Any

# Kept alive: the schemas vanish with the library object.
_torchvision_schemas: Any = None


def apply() -> None:
    """Apply all mends. Call it before any toolbox is imported; a second call changes nothing."""
    if importlib.util.find_spec('mmengine') is not None:  # the operators need none
        _mend_mmengine()
    _declare_torchvision_schemas()


def _mend_mmengine() -> None:
    from mmengine.config import utils

    # mmengine resolves `_base_ = 'PACKAGE::...'` for the packages of a table of
    # its own. It looks for the distribution 'mmsegmentation', which the onedl
    # family does not have, when a config inherits from 'mmseg::...'; the import
    # name is accepted in its place and exists in both families. This package
    # is not in the table.
    utils.MODULE2PACKAGE.update(mmseg='mmseg', tinyvim_mm='tinyvim_mm')
    # For every `_base_ = 'PACKAGE::...'` mmengine reads all metafiles of the package anew, which
    # takes most of a second each time and seconds for a config.
    if not hasattr(utils.load, 'cache_info'):
        utils.load = functools.cache(utils.load)


def _declare_torchvision_schemas() -> None:
    # A CUDA build of torchvision beside a CPU build of torch fails to load its
    # operators and then dies at import, and mmdet with it, because it
    # registers fake kernels for operators that do not exist. With the two
    # schemas declared it imports; models and transforms work, and so does
    # everything but its own nms.
    global _torchvision_schemas
    import torch

    if _torchvision_schemas is not None or torch.version.cuda is not None:
        return
    try:
        build = metadata.version('torchvision')
    except metadata.PackageNotFoundError:
        return
    if '+cpu' in build or hasattr(torch.ops.torchvision, 'nms'):
        return
    library = torch.library.Library('torchvision', 'FRAGMENT')
    signature = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
    for name in ('nms', 'qnms'):
        library.define(name + signature)
    _torchvision_schemas = library
