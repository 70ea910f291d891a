"""Which third-party packages the project uses, and what to do if one is missing.

This module uses the standard library alone, so that ``setup.py`` and the
set-up script read the same version numbers as the checks at run time.
"""

import importlib
import importlib.util
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Dict, List, Optional, Tuple

# Each torchvision fits one torch alone.
TORCH = 'torch==2.14.1'
TORCHVISION = 'torchvision==0.29.1'

# The two families of OpenMMLab distributions. They install the same import
# names and overwrite each other's files, so exactly one may be present; that
# is why neither is a hard requirement of this package.
STACKS: Dict[str, Dict[str, str]] = {
    'onedl': {
        'mmengine': 'onedl-mmengine==0.10.12',
        'mmcv': 'onedl-mmcv==2.3.6',
        'mmdet': 'onedl-mmdetection==3.5.1',
        'mmseg': 'onedl-mmsegmentation==1.4.2',
        'mmpretrain': 'onedl-mmpretrain==1.3.6',
    },
    'openmmlab': {
        'mmengine': 'mmengine==0.10.7',
        'mmcv': 'mmcv==2.1.0',
        'mmdet': 'mmdet==3.3.0',
        'mmseg': 'mmsegmentation==1.2.2',
        'mmpretrain': 'mmpretrain==1.2.0',
    },
}
DEFAULT_STACK = 'onedl'

#: torch and torchvision of a family.
STACK_TORCH: Dict[str, Tuple[str, str]] = {
    'onedl': (TORCH, TORCHVISION),
    'openmmlab': ('torch==2.13.0', 'torchvision==0.28.0'),
}
#: Where mmcv's operators come from in a set-up that does not say it.
STACK_MMCV: Dict[str, str] = {'onedl': 'torchvision', 'openmmlab': 'compiled'}

#: The toolboxes, by the names that their configs call themselves (``default_scope``).
SCOPES = ('mmdet', 'mmseg', 'mmpretrain')

# mmengine asks for the first one; only the second one loads where there is no display. With
# OpenCV 5 mmcv was not tried.
_OPENCV = ('opencv-python<5', 'opencv-python-headless<5')
# Needed by a stack but not declared by its distributions.
STACK_EXTRAS: Dict[str, List[str]] = {
    'onedl': ['ftfy', 'regex', *_OPENCV],
    # mmengine 0.10.7 imports pkg_resources, which setuptools 81 removed.
    'openmmlab': ['ftfy', 'regex', *_OPENCV, 'setuptools<81'],
}
TEST_REQUIREMENTS = [
    *('pytest>=8', 'pytest-xdist>=3', 'hypothesis>=6', 'ruff>=0.6', 'import-linter>=2.5'),
    'fvcore>=0.1.5',  # its FLOP counter has to know the scan
    'safetensors>=0.4',  # the other format of tools/convert_checkpoint.py
    *('onnx>=1.15', 'onnxruntime>=1.17'),  # tools/export.py, and what runs its files
    'timm>=1.0',  # the teacher of the ImageNet recipe, and the bridge to timm
    # Its interpreter runs the Triton kernels on a CPU, correctly since 3.2.
    'triton>=3.2; platform_system == "Linux"',
]
# Converters of exported files, and what runs them, whose import names pip does not know.
_CONVERTERS = {'litert_torch': 'litert-torch', 'ai_edge_litert': 'ai-edge-litert'}
# What mmcv's build needs beside torch, which must see this environment (no
# build isolation). setuptools 81 removed pkg_resources, see above.
BUILD_REQUIREMENTS = ['setuptools>=64,<81', 'wheel', 'ninja', 'psutil']

_MMCV_BUILD = 'MMCV_WITH_OPS=1 CFLAGS=-g0 pip install --no-build-isolation --no-cache-dir {mmcv}'


#: Checks an installation; works without the console command being on the PATH.
DOCTOR = 'python -m tinyvim_mm doctor'


def with_hint(message: str) -> str:
    """Add to the message of an error that stems from the environment what looks into it."""
    return f'{message}\n`{DOCTOR}` checks the whole installation.'


class MissingPackageError(ImportError):
    """A package that the requested action needs is absent or unusable; names the doctor."""

    exit_code = 2  # `CURABLE`, of a module that imports this one

    def __init__(self, message: str) -> None:
        super().__init__(with_hint(message))


@dataclass(frozen=True)
class PackageState:
    """What was found of one third-party package."""

    name: str
    version: Optional[str]
    #: Why it cannot be used, and the command that mends it.
    problem: str = ''
    cure: str = ''
    #: What is worth knowing of one that can be used: the form of mmcv's operators.
    note: str = ''

    @property
    def usable(self) -> bool:
        return not self.problem


def installed_stack() -> Optional[str]:
    """Name of the OpenMMLab family that is installed, ``None`` if none is."""
    for stack, packages in STACKS.items():
        if installed_version(packages['mmengine'].partition('==')[0]) is not None:
            return stack
    return None


def package_state(name: str) -> PackageState:
    """Look at the package of an import name without importing more than is needed."""
    distribution = distribution_of(name)
    cure = package_cure(name)
    if importlib.util.find_spec(name) is None:
        return PackageState(name, None, 'not installed', cure)
    version = installed_version(distribution) or installed_version(name) or 'unknown'
    if name == 'mmcv':
        from . import mmcv_operators  # it imports this module

        form = mmcv_operators.choice()
        if isinstance(form, mmcv_operators.Obstacle):
            return PackageState(name, version, form.reason, form.cure)
        return PackageState(name, version, note=mmcv_operators.described(form))
    return PackageState(name, version)


def require(*names: str, purpose: str) -> None:
    """Raise a MissingPackageError unless all packages can be imported.

    Args:
        names: Import names, in the order in which they should be installed.
        purpose: What needs them; part of the message.
    """
    lines = []
    for name in names:
        state = package_state(name)
        if state.usable:
            try:
                importlib.import_module(name)
            except Exception as error:  # noqa: BLE001 - reported, not swallowed
                reason = f'{type(error).__name__}: {error}'
                problem = f'version {state.version} fails to import ({reason})'
                state = PackageState(name, state.version, problem, DOCTOR)
        if not state.usable:
            lines.append(f'  {name}: {state.problem}\n    cure: {state.cure}')
    if lines:
        raise MissingPackageError(
            f'{purpose} needs packages that are not usable here:\n'
            + '\n'.join(lines)
            + '\nInstall torch before mmcv. In a clone, `make env` sets up everything.'
        )


def report() -> List[PackageState]:
    """State of every package that some part of the project uses."""
    names = ('torch', 'torchvision', 'triton', 'mamba_ssm', *STACKS[DEFAULT_STACK])
    return [package_state(name) for name in names]


def platform_line() -> str:
    """One line that says where this runs."""
    python, machine = platform.python_version(), f'{platform.system()} {platform.machine()}'
    family = installed_stack() or 'none'
    return f'Python {python} ({sys.executable}), {machine}, OpenMMLab family: {family}'


def requirements(stack: str) -> Tuple[str, ...]:
    """All distributions of one family, pinned, in installation order."""
    return (*STACKS[stack].values(), *STACK_EXTRAS[stack])


def requirement_of(name: str, stack: Optional[str] = None) -> str:
    """What pip is asked for: ``onedl-mmcv==2.3.6`` for the import name ``mmcv``.

    Without a family, ``stack``, of the one that is installed, or else the default.
    """
    family = stack or installed_stack() or DEFAULT_STACK
    packages, (torch, torchvision) = STACKS[family], STACK_TORCH[family]
    others = {'torch': torch, 'torchvision': torchvision, 'mamba_ssm': 'mamba-ssm', **_CONVERTERS}
    return packages.get(name) or others.get(name, name)


def distribution_of(name: str) -> str:
    """Name of the distribution that brings an import name."""
    return requirement_of(name).partition('==')[0]


def package_cure(name: str, stack: Optional[str] = None) -> str:
    """The command that installs a package; arguments as in :func:`requirement_of`."""
    requirement = requirement_of(name, stack)
    if name == 'mmcv':
        return _MMCV_BUILD.format(mmcv=requirement)
    return f"pip install '{requirement}'"


def installed_version(distribution: str) -> Optional[str]:
    """Version of an installed distribution, ``None`` if there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


#: What mmengine's mixed precision and its distributed launchers can work on.
ACCELERATORS = ('cuda', 'npu', 'mlu', 'musa')


def accelerator() -> Optional[str]:
    """Kind of the accelerator that mmengine would use, ``None`` if there is none."""
    from mmengine.device import get_device

    device = get_device()
    return device if device in ACCELERATORS else None
