"""Which form of mmcv's operators a process uses: the compiled ones, or those on torchvision.

mmcv brings the compiled ones as source only. Where they were not built, :mod:`..mmcv_ext` puts
torchvision's in their place. The environment variable ``TINYVIM_MMCV_OPS`` chooses:

* ``auto``, the default: the compiled ones where they are, else those on torchvision;
* ``compiled``: those or none;
* ``torchvision``: those on torchvision, also where there are compiled ones.

Importing this module imports neither torch nor mmcv.
"""

import importlib
import importlib.util
import os
from dataclasses import dataclass
from importlib.machinery import PathFinder
from typing import Optional, Union

from . import environment
from .errors import UsageError

VARIABLE = 'TINYVIM_MMCV_OPS'
COMPILED, TORCHVISION = 'compiled', 'torchvision'
CHOICES = ('auto', COMPILED, TORCHVISION)


@dataclass(frozen=True)
class Obstacle:
    """Why there are no operators, and what helps.

    Attributes:
        reason: What is in the way.
        cure: The command or the action that removes it.
        asked: Whether the variable asks for what cannot be, so that nothing else may be taken.
    """

    reason: str
    cure: str
    asked: bool = False


def choice() -> Union[str, Obstacle]:
    """``'compiled'``, ``'torchvision'``, or why neither can be used."""
    wanted = os.environ.get(VARIABLE) or 'auto'
    if wanted not in CHOICES:
        reason = f'{VARIABLE} is {wanted!r}, which is none of {", ".join(CHOICES)}'
        return Obstacle(reason, f'set {VARIABLE} to one of them, or unset it', asked=True)
    if wanted != TORCHVISION and compiled_file() is not None:
        return COMPILED
    missing = (
        'installed without its compiled operators (the "lite" build), which mmdet needs: the '
        'build did not see torch'
    )
    if wanted == COMPILED:
        return Obstacle(f'{missing}; {VARIABLE}={COMPILED} allows no others', compile_command())
    problem = torchvision_problem()
    if problem is None:
        return TORCHVISION
    if wanted == TORCHVISION:
        reason = f'{VARIABLE}={TORCHVISION} asks for operators on torchvision, and {problem}'
        return Obstacle(reason, torchvision_cure(), asked=True)
    reason = f'{missing}; torchvision cannot stand in for them, as {problem}'
    return Obstacle(reason, f'{compile_command()}; or {torchvision_cure()}')


def stands_in() -> bool:
    """Whether torchvision's operators take the place of ``mmcv._ext``, for who imports that.

    Raises:
        UsageError: If the variable asks for what cannot be.
    """
    form = choice()
    if isinstance(form, Obstacle) and form.asked:
        raise UsageError(f'{form.reason}\ncure: {form.cure}')
    return form == TORCHVISION


def described(form: str) -> str:
    """The form in use, in a few words."""
    if form == COMPILED:
        return 'with its compiled operators'
    return f'its operators on torchvision {environment.installed_version("torchvision")}'


def compiled_file() -> Optional[str]:
    """The file with mmcv's compiled operators, ``None`` if there is none; imports nothing."""
    package = importlib.util.find_spec('mmcv')
    # Not find_spec('mmcv._ext'): it imports mmcv, and may be answered with the stand-in.
    places = package.submodule_search_locations if package is not None else None
    spec = PathFinder.find_spec('mmcv._ext', list(places)) if places else None
    return spec.origin if spec is not None else None


def torchvision_problem() -> Optional[str]:
    """Why the operators of torchvision cannot be used, ``None`` if they can; imports it."""
    if importlib.util.find_spec('torchvision') is None:
        return 'torchvision is not installed'
    version = environment.installed_version('torchvision')
    try:
        loaded = importlib.import_module('torchvision.extension')._has_ops()
    except Exception as error:  # noqa: BLE001 - reported, not swallowed
        first = (str(error).splitlines() or [''])[0]
        return f'torchvision {version} does not import ({type(error).__name__}: {first})'
    torch = environment.installed_version('torch')
    return (
        None
        if loaded
        else f'the operators of torchvision {version} do not load: it was built for another '
        f'torch, or for another CUDA version, than torch {torch}'
    )


def compile_command() -> str:
    """Builds mmcv again, with its operators."""
    distribution = environment.distribution_of('mmcv')
    return f'pip uninstall -y {distribution} && {environment.package_cure("mmcv")}'


def torchvision_cure() -> str:
    """What to do for a torchvision whose operators load."""
    torch = environment.installed_version('torch') or environment.TORCH.partition('==')[2]
    return f'install the torchvision that is made for torch {torch}, from where torch came from'
