"""torch, the GPU beside it, and torchvision."""

import importlib
import importlib.util
import re
import shutil
from importlib import metadata
from typing import List, Optional

from ..core import environment
from .finding import FAULT, NOTE, OK, Finding

_OLDEST = (2, 1)


def check_torch() -> List[Finding]:
    """Whether torch works, sees the GPU and has kernels for it; whether torchvision fits."""
    import torch

    findings = [_numpy(), _gpu(), *_torchvision()]
    if tuple(map(int, torch.__version__.split('.')[:2])) < _OLDEST:
        detail = f'{torch.__version__} is older than {".".join(map(str, _OLDEST))}'
        cure = f"pip install '{environment.TORCH}'"
        findings.insert(0, Finding('torch', FAULT, detail, cure))
    elif not safely_reads(torch.__version__):
        detail = (
            f'{torch.__version__} can be made to run code by a crafted checkpoint, even where only '
            'weights are read (CVE-2025-32434)'
        )
        cure = "pip install 'torch>=2.6', or load checkpoints from people that you trust only"
        findings.insert(0, Finding('torch', NOTE, detail, cure))
    return findings


def safely_reads(version: str) -> bool:
    """Whether ``weights_only`` of this torch keeps its promise."""
    return tuple(map(int, version.split('.')[:2])) >= (2, 6)


def _numpy() -> Finding:
    import torch

    try:
        import numpy

        torch.zeros(1).numpy()
    except Exception as error:  # noqa: BLE001 - reported, not swallowed
        cure = "pip install 'numpy<2' for a torch before 2.3, else pip install --upgrade numpy"
        return Finding('numpy', FAULT, f'torch cannot use it ({error})', cure)
    return Finding('numpy', OK, numpy.__version__)


def _gpu() -> Finding:
    import torch

    built = f'torch for CUDA {torch.version.cuda}' if torch.version.cuda else 'torch without CUDA'
    if torch.version.hip:
        return Finding('GPU', OK, f'torch for ROCm {torch.version.hip}')
    if not torch.cuda.is_available():
        if shutil.which('nvidia-smi') is None:
            return Finding('GPU', OK, f'none; {built}')
        if torch.version.cuda is None:
            detail = f'nvidia-smi is here, but this is {built}: everything runs on the CPU'
            cure = f"install a CUDA build, see https://pytorch.org, of '{environment.TORCH}'"
            return Finding('GPU', NOTE, detail, cure)
        cure = (
            'update the NVIDIA driver, or install torch for the CUDA version that `nvidia-smi` '
            'shows; inside a container start it with --gpus all'
        )
        return Finding('GPU', FAULT, f'nvidia-smi is here, but {built} sees no device', cure)
    major, minor = torch.cuda.get_device_capability()
    name = f'{torch.cuda.get_device_name()} ({major}.{minor}), {built}'
    architectures = torch.cuda.get_arch_list()
    if not covers(architectures, major, minor):
        detail = f'{name}, which has kernels for {" ".join(architectures)} only'
        cure = 'install a torch whose CUDA version supports this GPU, see https://pytorch.org'
        return Finding('GPU', FAULT, detail, cure)
    return Finding('GPU', OK, name)


def covers(architectures: List[str], major: int, minor: int) -> bool:
    """Whether code compiled for some architectures runs on a GPU of a compute capability.

    ``sm_XY`` is machine code, which runs on GPUs of the same major version and no smaller minor
    one; ``compute_XY`` is what the driver compiles for any newer GPU.
    """
    for architecture in architectures:
        found = re.match(r'([a-z]+)_(\d+)', architecture)
        if found is None:
            continue
        of = divmod(int(found[2]), 10)
        if (major, minor) >= of and (found[1] == 'compute' or of[0] == major):
            return True
    return False


def _torchvision() -> List[Finding]:
    if importlib.util.find_spec('torchvision') is None:
        return []  # among the packages already
    import torch

    from ..core import compat

    subject = 'torchvision'
    wanted = _torch_of_torchvision()
    if wanted is not None and wanted != torch.__version__.partition('+')[0]:
        detail = (
            f'{environment.installed_version(subject)} is made for torch {wanted}, and '
            f'torch {torch.__version__} is installed'
        )
        cure = f"pip install '{environment.TORCH}' '{environment.TORCHVISION}'"
        return [Finding(subject, FAULT, detail, cure)]
    compat.apply()
    try:
        complete = importlib.import_module(subject).extension._has_ops()
    except Exception as error:  # noqa: BLE001 - reported, not swallowed
        cure = (
            f"pip install --force-reinstall --no-deps '{environment.TORCHVISION}', of the "
            'same CUDA version as torch'
        )
        detail = f'does not import: {type(error).__name__}: {error}'
        return [Finding(subject, FAULT, detail, cure)]
    if complete:
        return [Finding(subject, OK, 'its operators load')]
    detail = (
        'is of another CUDA version than torch: transforms and models work, '
        'torchvision.ops does not, which nothing here needs'
    )
    return [Finding(subject, NOTE, detail)]


def _torch_of_torchvision() -> Optional[str]:
    """Version of torch that torchvision asks for."""
    try:
        lines = metadata.requires('torchvision') or []
    except metadata.PackageNotFoundError:
        return None
    found = (re.match(r'torch\s*\(?==\s*([\d.]+)', line) for line in lines)
    return next((match[1] for match in found if match), None)
