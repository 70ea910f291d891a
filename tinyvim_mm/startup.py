"""Mends other packages at the moment when they are imported, by one finder on ``sys.meta_path``.

``import tinyvim_mm`` puts the finder there, and so does ``tinyvim_mm.pth`` of an installation, at
the start of each Python process of the environment (``TINYVIM_MM_STARTUP=0`` turns that off). So
the toolboxes' own tools, mim and notebooks, which never import this package before they read a
config, find the same mends as the tools of the project. Which there are: :mod:`.core.compat`.

The ``.pth`` file runs a copy of this file under another name, which lies beside it. Nothing of
the package is imported then, so that a clone on ``sys.path`` still prevails over an installed
package; and until one of :data:`MENDED` is imported, the finder costs a look into a dict. Only
:mod:`os` and :mod:`sys`, which every process has, are imported for the same reason.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # the name that checkers know; importing typing takes 8 ms
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, Optional, Sequence

#: Names of modules, and when the mend of each is due: before or after its code runs.
MENDED = {
    'mmengine.config.config': 'after',
    'mim.utils.utils': 'after',
    'mmpretrain.utils.dependency': 'after',
    'mmpretrain.visualization': 'after',
    'torchvision': 'before',
}
#: For this one there is another module where it is missing.
OPERATORS = 'mmcv._ext'
_MARK = '_mends_for_tinyvim_mm'


class Finder:
    """Finds nothing by itself: it mends what the other finders find."""

    #: How a copy of this class is known as one.
    _mends_for_tinyvim_mm = True

    def find_spec(
        self,
        name: str,
        path: Optional[Sequence[str]] = None,
        target: Optional[ModuleType] = None,
    ) -> Optional[ModuleSpec]:
        """As importlib asks for; ``None`` leaves the search to the other finders."""
        if name not in MENDED and name != OPERATORS:
            return None
        compat = _compat()
        if compat is None:
            return None
        current = _in_force()
        if current is not self:  # another copy of the package was imported just now
            return current.find_spec(name, path, target) if current is not None else None
        if name == OPERATORS:
            return _operators_spec()
        spec = _found_by_others(name, path, target)
        if spec is not None and spec.loader is not None:
            _mend_with(spec.loader, name, compat)
        return spec


def install() -> None:
    """Put the finder in force, and mend what is loaded already; a second call changes nothing."""
    sys.meta_path[:] = [f for f in sys.meta_path if not hasattr(f, _MARK)]
    sys.meta_path.insert(0, Finder())
    loaded = [name for name in MENDED if MENDED[name] == 'after' and name in sys.modules]
    compat = _compat() if loaded else None
    for name in loaded if compat is not None else ():
        compat.mend(name, sys.modules[name])


def _compat() -> Any:
    """The mends; ``None`` where the package was removed, wholly or in parts, since the start."""
    try:
        # Where another copy is on the path, this import puts that one's finder in force.
        from tinyvim_mm.core import compat
    except ImportError:
        return None
    return compat


def _in_force() -> Optional[Any]:
    return next((finder for finder in sys.meta_path if hasattr(finder, _MARK)), None)


def _found_by_others(
    name: str, path: Optional[Sequence[str]], target: Optional[ModuleType]
) -> Optional[ModuleSpec]:
    for finder in sys.meta_path:
        find = None if hasattr(finder, _MARK) else getattr(finder, 'find_spec', None)
        spec = find(name, path, target) if find else None
        if spec is not None:
            return spec
    return None


def _mend_with(loader: Any, name: str, compat: Any) -> None:
    """Let a loader mend the module before or after it runs its code.

    Not when it is looked for, as many look for torchvision who do not import it. The loader
    stays what it is, as others ask it for sources and resources.
    """
    run = loader.exec_module

    def run_and_mend(module: ModuleType) -> None:
        if MENDED[name] == 'before':
            compat.mend(name, module)
        run(module)
        if MENDED[name] == 'after':
            compat.mend(name, module)

    loader.exec_module = run_and_mend


class _OperatorsLoader:
    """Loads what stands in for the compiled operators of mmcv."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        import importlib

        return importlib.import_module('tinyvim_mm.mmcv_ext').module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """The module is complete when it is made."""


def _operators_spec() -> Optional[ModuleSpec]:
    from importlib.machinery import ModuleSpec

    try:
        from tinyvim_mm.core import mmcv_operators
    except ImportError:  # as in _compat
        return None
    if not mmcv_operators.stands_in():
        return None
    return ModuleSpec(OPERATORS, _OperatorsLoader(), origin='torchvision')


if __name__ == '_tinyvim_mm_startup' and os.environ.get('TINYVIM_MM_STARTUP') != '0':
    install()
