"""Installs the right build of torch, and of torchvision beside it."""

import json
import platform
from typing import Dict, List, Optional

from .common import STAMPS, SetupError
from .machine import driver_cuda
from .progress import Activity
from .setup import Setup

TORCH_INDEX = 'https://download.pytorch.org/whl/'
PLAIN_INDEX = 'pip'  # value of --torch-index: whatever pip itself finds


def torch_source(setup: Setup, requirement: str) -> Optional[List[str]]:
    """Arguments for pip that give the right build of torch or torchvision.

    Asked for as ``+cpu``, a CPU build is found or not found by its name; pip
    never has to load a CUDA build of a gigabyte to learn what it is.

    Returns:
        ``None`` if a CPU build is wanted and nobody has it.
    """
    index = setup.options.torch_index
    if index == PLAIN_INDEX:
        return [requirement]
    if index:
        return [requirement, '--index-url', index]
    if setup.device == 'cuda':
        driver = driver_cuda()
        # Untried: no machine with an older driver was at hand. The default
        # build of this torch is made for CUDA 13, which such a driver refuses.
        old = driver is not None and driver < 13
        return [requirement, *(['--index-url', TORCH_INDEX + 'cu126'] if old else [])]
    if platform.system() == 'Darwin':
        return [requirement]
    cpu = requirement + '+cpu'
    # First what pip is set up to use here: a mirror, a folder of wheels.
    if setup.offers(cpu):
        return [cpu]
    public = ['--index-url', TORCH_INDEX + 'cpu']
    if setup.offers(cpu, *public, '--retries', '1', '--timeout', '20'):
        return [cpu, *public]
    return None


def install_torch(setup: Setup, activity: Activity) -> Dict:
    """Install torch and see whether it is the build that was wanted."""
    source = torch_source(setup, setup.pins.TORCH)
    if source is None:
        raise SetupError(
            f'No CPU build of {setup.pins.TORCH} for Python {setup.version} can be had: neither '
            f'from the sources that pip is configured with nor from {TORCH_INDEX}cpu.\n'
            f'Details: {setup.log}\nWhat helps:\n'
            '  make TORCH_INDEX=<address of a mirror of that index> demo\n'
            '  make TORCH_INDEX=pip demo   # takes the CUDA build from your package index:\n'
            '                              # several gigabytes, runs without a GPU too'
        )
    setup.pip(activity, 'install', *source)
    facts = torch_facts(setup)
    if setup.device == 'cuda' and facts['cuda'] is None:
        raise SetupError(
            f'pip installed torch {facts["version"]}, which has no CUDA. Name the index of a CUDA '
            f'build, such as make TORCH_INDEX={TORCH_INDEX}cu130 demo, or use make DEVICE=cpu demo'
        )
    if setup.device == 'cuda' and not facts['capability']:
        activity.note(f'torch {facts["version"]} sees no GPU: is the driver new enough?')
    return facts


def torch_facts(setup: Setup) -> Dict:
    """Version, CUDA version and compute capability, as the installed torch says."""
    worked, answer = setup.ask_python(
        'import json, torch; gpu = torch.version.cuda and torch.cuda.is_available(); '
        'print(json.dumps(dict(version=torch.__version__, cuda=torch.version.cuda, capability='
        '"sm%d%d" % torch.cuda.get_device_capability() if gpu else "")))'
    )
    if not worked:
        raise SetupError(f'torch is installed but fails to import: {answer}')
    return json.loads(answer.splitlines()[-1])


def install_torchvision(setup: Setup, activity: Activity) -> Dict:
    """Install torchvision, or go on without it: only mmpretrain needs it."""
    requirement = setup.pins.TORCHVISION
    source = torch_source(setup, requirement)
    if source is None:
        source = [requirement]
        activity.note(
            'no CPU build of torchvision can be had here; taking the one pip finds. Its transforms '
            'and models work (tinyvim_mm sees to it), torchvision.ops does not'
        )
    try:
        setup.pip(activity, 'install', 'pillow', *setup.constraints())
        setup.pip(activity, 'install', '--no-deps', *source)
    except SetupError as error:
        activity.note(
            f'no torchvision, so mmpretrain will not be usable; see {setup.log}. To have it tried '
            f'again, delete {STAMPS / "torchvision.json"}'
        )
        return {'missing': str(error).partition('\n')[0]}
    return {}
