"""Mends for known bugs of the packages around this one, all in one place."""

import difflib
import functools
import importlib
import importlib.util
import inspect
from importlib import metadata
from pathlib import Path
from typing import Any, Optional, Tuple

from .paths import CONFIG_ROOT, PROJECT_ROOT

_OWN = 'tinyvim_mm::'
# Kept alive: the schemas vanish with the library object.
_torchvision_schemas: Any = None


def apply() -> None:
    """Apply all mends. Call it before any toolbox is imported; a second call changes nothing."""
    if importlib.util.find_spec('mmengine') is not None:  # the operators need none
        _mend_mmengine(importlib.import_module('mmengine.config.config'))
    _declare_torchvision_schemas()


def mend(name: str, module: Any) -> None:
    """Mend one module of another package; :mod:`tinyvim_mm.startup` calls it in time.

    Args:
        name: One of ``tinyvim_mm.startup.MENDED``.
        module: The module of this name, loaded, or about to be.
    """
    if name == 'mmengine.config.config':
        _mend_mmengine(module)
    elif name == 'mim.utils.utils':
        _mend_mim(module)
    elif name == 'mmpretrain.utils.dependency':
        _leave_out_multimodal(module)
    elif name == 'mmpretrain.visualization':
        _mend_matplotlib()
    elif name == 'torchvision':
        _declare_torchvision_schemas()


def _mend_mmengine(module: Any) -> None:
    utils = importlib.import_module('mmengine.config.utils')

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
    _mend_own_bases(getattr(module, 'Config', None))


def _mend_own_bases(config: Any) -> None:
    """Resolve ``_base_ = 'tinyvim_mm::...'`` without a scope.

    mmengine gives all that a config takes over as ``_base_.NAME`` the scope of the package that
    it comes from, and then builds the transforms and losses of a toolbox from this package's
    registries, which have none. The recipes here are for the toolboxes' scopes.
    """
    original = getattr(config, '_get_cfg_path', None)
    if original is None or hasattr(original, '__wrapped__'):
        return

    @functools.wraps(original)
    def path_and_scope(cfg_path: str, filename: str) -> Tuple[str, Optional[str]]:
        if not cfg_path.startswith(_OWN):
            return original(cfg_path, filename)
        return str(_own_config(cfg_path, filename)), None

    config._get_cfg_path = staticmethod(path_and_scope)


def _own_config(base: str, filename: str) -> Path:
    path = CONFIG_ROOT / base[len(_OWN) :]
    if path.is_file():
        return path
    known = [p.relative_to(CONFIG_ROOT).as_posix() for p in CONFIG_ROOT.rglob('*.py')]
    nearest = difflib.get_close_matches(base[len(_OWN) :], known, n=1, cutoff=0)
    meant = f'; did you mean {_OWN + nearest[0]}?' if nearest else ''
    raise FileNotFoundError(f'{filename}: tinyvim_mm has no config {base!r}{meant}')


def _mend_mim(utils: Any) -> None:
    # onedl-mim takes the first file of an installation's list for one in the package's folder;
    # here it is the console script.
    original = utils.get_installed_path
    if hasattr(original, '_tinyvim_mm'):
        return

    @functools.wraps(original)
    def installed_path(package: str) -> str:
        if package.replace('-', '_') != 'tinyvim_mm':
            return original(package)
        # mim looks for `.mim/tools` and then for `tools` there.
        return str(PROJECT_ROOT.parent if PROJECT_ROOT.name == '.mim' else PROJECT_ROOT)

    installed_path._tinyvim_mm = True  # type: ignore[attr-defined]
    utils.get_installed_path = installed_path


def _leave_out_multimodal(dependency: Any) -> None:
    # Where transformers is installed, mmpretrain loads models of vision and language with all
    # others. They are written for transformers 4; with 5 they, and so mmpretrain, do not import:
    # "NoneType takes no arguments". Without it they are placeholders that say what they need.
    try:
        major = int(metadata.version('transformers').partition('.')[0])
    except (metadata.PackageNotFoundError, ValueError):
        return
    if major >= 5:
        dependency.WITH_MULTIMODAL = False


def _mend_matplotlib() -> None:
    # mmpretrain's browse_dataset calls this private function as matplotlib had it once.
    from matplotlib import _tight_bbox

    original = _tight_bbox.adjust_bbox
    wanted = inspect.signature(original).parameters.get('renderer')
    if wanted is None or wanted.default is not inspect.Parameter.empty:
        return

    def adjust_bbox(
        fig: Any, bbox_inches: Any, renderer: Any = None, fixed_dpi: Optional[float] = None
    ) -> Any:
        return original(fig, bbox_inches, renderer or fig.canvas.get_renderer(), fixed_dpi)

    _tight_bbox.adjust_bbox = adjust_bbox


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
