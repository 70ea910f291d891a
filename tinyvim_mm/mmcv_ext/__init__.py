"""What stands in for ``mmcv._ext``, the compiled operators of mmcv, where they were not built.

The operators that detectors and segmentors use stand on those of torchvision, or are written in
PyTorch, with the names, arguments and results of the compiled ones: results are written into
tensors of the caller. They work on CPU and CUDA tensors, and compute in float32 what is given in
half precision, as torchvision does under autocast. All other names are there as well, because
mmcv asks for all of them when ``mmcv.ops`` is imported, and refuse when they are called.

Which form a process uses: :mod:`..core.mmcv_operators`.
"""

import logging
import multiprocessing
import os
from types import ModuleType
from typing import Any, Callable, Dict, List, NoReturn

from ..core import environment, mmcv_operators

_announced = False


def module(name: str = 'mmcv._ext') -> ModuleType:
    """A module with all operators, for ``sys.modules`` or a loader.

    The first one of a run says in a line of the log that it is in use, unless the variable
    ``TINYVIM_MMCV_OPS`` asks for it.
    """
    _announce()
    return _Operators(name)


def operators() -> Dict[str, Callable[..., Any]]:
    """The operators that compute, by their names in ``mmcv._ext``."""
    from . import attention, boxes, carafe, deformable, information, losses, masked, pooling

    parts = (attention, boxes, carafe, deformable, information, losses, masked, pooling)
    return {name: getattr(part, name) for part in parts for name in part.__all__}


class _Operators(ModuleType):
    """Offers every name, as mmcv checks at import that its operators are there."""

    def __init__(self, name: str) -> None:
        super().__init__(name, __doc__)
        self.__dict__.update(operators())

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('_'):  # what importlib, pickle and others ask of any module
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')

        def refuse(*_: Any, **__: Any) -> NoReturn:
            raise NotImplementedError(
                f'The operator {name!r} of mmcv is not among those that work on torchvision, and '
                f'mmcv was installed without its compiled operators.\n'
                f'cure: {mmcv_operators.compile_command()}'
            )

        refuse.__name__ = refuse.__qualname__ = name
        return refuse

    def __dir__(self) -> List[str]:
        return sorted(operators())


def _announce() -> None:
    global _announced
    asked_for = os.environ.get(mmcv_operators.VARIABLE) == mmcv_operators.TORCHVISION
    # Neither in the workers of a data loader, nor in all processes of a distributed run.
    first = multiprocessing.parent_process() is None and os.environ.get('RANK', '0') == '0'
    if _announced or asked_for or not first:
        return
    _announced = True
    logging.getLogger('tinyvim_mm').warning(
        'mmcv %s was installed without its compiled operators: those of detectors run on '
        'torchvision %s, others refuse. %s=%s silences this line; to compile them: %s',
        environment.installed_version(environment.distribution_of('mmcv')),
        environment.installed_version('torchvision'),
        mmcv_operators.VARIABLE,
        mmcv_operators.TORCHVISION,
        mmcv_operators.compile_command(),
    )
