"""All steps after ``.venv`` itself, in order."""

from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from .common import ROOT
from .machine import build_environment
from .mmcv_wheel import install_stack
from .progress import Activity
from .setup import Setup
from .state import distribution, file_digest
from .torch_build import install_torch, install_torchvision

KERNEL_SUFFIXES = ('.py', '.h', '.hpp', '.cuh', '.c', '.cpp', '.cu')


class Step(NamedTuple):
    """One part of the set-up.

    Attributes:
        name: Name of its stamp and of its log.
        title: What is shown.
        requirements: What it installs. Those with one version are looked up at
            every start, so that a package changed or removed by hand is put back.
        install: Does it.
        content: Anything else that must lead to doing it again.
    """

    name: str
    title: str
    requirements: Tuple[str, ...]
    install: Callable[[Setup, Activity], Optional[Dict]]
    content: str = ''


def make_steps(setup: Setup) -> List[Step]:
    """The steps for the device and the family that are wanted."""
    pins, stack = setup.pins, setup.pins.STACKS[setup.stack]
    build = {'cpu': 'CPU build', 'cuda': 'CUDA build'}[setup.device]
    tests = ', '.join(map(distribution, pins.TEST_REQUIREMENTS))
    return [
        Step('torch', f'{pins.TORCH}, {build}', (pins.TORCH,), install_torch),
        plain_step('build', 'build tools', pins.BUILD_REQUIREMENTS),
        Step(
            'stack',
            f'{stack["mmcv"]} and the other {setup.stack} packages',
            tuple(pins.requirements(setup.stack)),
            install_stack,
        ),
        Step('torchvision', pins.TORCHVISION, (pins.TORCHVISION, 'pillow'), install_torchvision),
        plain_step('test', f'tools for tests: {tests}', pins.TEST_REQUIREMENTS),
        Step(
            'package',
            'tinyvim_mm, editable',
            ('tinyvim_mm',),
            install_package,
            package_digest(),
        ),
    ]


def plain_step(name: str, title: str, requirements: Iterable[str]) -> Step:
    """A step that installs its requirements as pip finds them."""
    wanted = tuple(requirements)

    def install(setup: Setup, activity: Activity) -> None:
        setup.pip(activity, 'install', *setup.constraints(), *wanted)

    return Step(name, title, wanted, install)


def package_digest() -> str:
    """Hash of the files that an editable install depends on."""
    sources = [ROOT / name for name in ('setup.py', 'pyproject.toml')]
    sources += [ROOT / 'tinyvim_mm' / name for name in ('core/environment.py', 'version.py')]
    # An editable install compiles these. Not all files: __pycache__ changes by itself.
    kernels = (ROOT / 'kernels').rglob('*')
    sources += [path for path in kernels if path.suffix in KERNEL_SUFFIXES]
    return file_digest(sources)


def install_package(setup: Setup, activity: Activity) -> Dict:
    """Install this project so that changed sources count at once; compiles its operators."""
    # Not isolated: the build must see torch, and needs no network.
    flags = ['--verbose', '--no-deps', '--no-build-isolation', '--editable']
    setup.pip(activity, 'install', *flags, '.', **build_environment(setup.device))
    compiled = any((ROOT / 'tinyvim_mm').glob('_C*.so'))
    if not compiled:
        activity.note(
            'without its compiled operators: the scan runs in plain PyTorch, which is slower. '
            f'See {setup.log}'
        )
    return {'compiled': compiled}
