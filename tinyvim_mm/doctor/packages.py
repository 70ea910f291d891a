"""Distributions and the files that they installed."""

import importlib
import importlib.util
from typing import Dict, List, Optional

from ..core import environment, mmcv_operators
from .finding import FAULT, NOTE, OK, Finding, first_line

#: Without them no part of the package works, and no model.
_NEEDED = ('torch', 'mmengine')
#: Import names of what a stack needs and its distributions do not declare, and who needs them.
_UNDECLARED = {'ftfy': 'mmseg', 'regex': 'mmseg', 'cv2': 'mmcv'}
_DISTRIBUTION = {'cv2': 'opencv-python-headless'}


def check_packages() -> List[Finding]:
    """Look at all packages that some part of the project uses."""
    return [_family(), *map(_package, environment.report()), *_undeclared()]


def _family() -> Finding:
    """Whether the packages of one OpenMMLab family only are installed."""
    subject = 'OpenMMLab family'
    found = _installed_by_family()
    if not found:
        return Finding(subject, NOTE, 'none is installed; the scan alone needs none', _install())
    if len(found) == 1:
        return Finding(subject, OK, next(iter(found)))
    names = [name for names in found.values() for name in names]
    described = '; '.join(f'{", ".join(names)} of {family}' for family, names in found.items())
    detail = f'two are mixed, and each overwrites files of the other: {described}'
    return Finding(subject, FAULT, detail, f'pip uninstall -y {" ".join(names)} && {_install()}')


def _installed_by_family() -> Dict[str, List[str]]:
    found = {}
    for family, packages in environment.STACKS.items():
        names = [requirement.partition('==')[0] for requirement in packages.values()]
        names = [name for name in names if environment.installed_version(name) is not None]
        if names:
            found[family] = names
    return found


def _install() -> str:
    pins = environment.requirements(environment.DEFAULT_STACK)
    others = [f"'{pin}'" for pin in pins if 'mmcv==' not in pin]
    mmcv = environment.package_cure('mmcv', environment.DEFAULT_STACK)
    return f'{mmcv} && pip install {" ".join(others)}'


def _package(state: environment.PackageState) -> Finding:
    name, version = state.name, state.version or ''
    if state.usable:
        return _imported(state)
    if state.version is None:
        distribution = environment.distribution_of(name)
        recorded = environment.installed_version(distribution)
        if recorded is not None:
            detail = (
                f'{distribution} {recorded} is recorded as installed, but its files are gone, as '
                'after the removal of the other OpenMMLab family'
            )
            cure = f'pip uninstall -y {distribution} && {state.cure}'
            return Finding(name, FAULT, detail, cure)
        return Finding(name, FAULT if name in _NEEDED else NOTE, state.problem, state.cure)
    # mmcv without its operators serves segmentation and classification.
    needed = importlib.util.find_spec('mmdet') is not None
    return Finding(name, FAULT if needed else NOTE, f'{version} {state.problem}', state.cure)


def _imported(state: environment.PackageState) -> Finding:
    """Import a package, and mmcv's compiled part, which has to fit torch."""
    name, version = state.name, state.version or ''
    if name in ('torchvision', 'triton', 'mamba_ssm'):  # have checks of their own
        return Finding(name, OK, version)
    problem = _import_problem(name)
    cure = f'pip install --force-reinstall --no-deps {environment.requirement_of(name)!r}'
    if problem is None and name == 'mmcv':
        problem = _import_problem('mmcv._ext')
        if problem is not None:
            problem = f'its operators do not load: {problem}'
            cure = mmcv_operators.compile_command()
    if problem is not None:
        return Finding(name, FAULT, f'{version} does not import: {problem}', cure)
    if name == 'mmcv':
        version = f'{version}, {state.note}'
        if mmcv_operators.choice() == mmcv_operators.TORCHVISION:
            detail = f'{version}: detectors train and predict, other operators of mmcv refuse'
            return Finding(name, NOTE, detail, mmcv_operators.compile_command())
    tried = environment.requirement_of(name).partition('==')[2]
    if tried and tried != (state.version or '').partition('+')[0]:
        return Finding(name, OK, f'{version} (this project was tried with {tried})')
    return Finding(name, OK, version)


def _import_problem(name: str) -> Optional[str]:
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - reported, not swallowed
        return first_line(error)
    return None


def _undeclared() -> List[Finding]:
    """What toolboxes import without asking pip for it."""
    findings = []
    for name, user in _UNDECLARED.items():
        present = importlib.util.find_spec(user) is not None
        if present and importlib.util.find_spec(name) is None:
            cure = f'pip install {_DISTRIBUTION.get(name, name)}'
            findings.append(Finding(name, FAULT, f'not installed; {user} needs it', cure))
    old = environment.installed_stack() == 'openmmlab'
    if old and importlib.util.find_spec('pkg_resources') is None:
        detail = 'has no pkg_resources any more, which mmengine of the upstream family imports'
        findings.append(Finding('setuptools', FAULT, detail, "pip install 'setuptools<81'"))
    return findings
