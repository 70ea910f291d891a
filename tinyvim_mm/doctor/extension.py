"""The compiled operators of this package."""

import re
from typing import List

from .finding import FAULT, NOTE, OK, Finding
from .torch_build import covers


def check_extension() -> List[Finding]:
    """Whether they are there, load, were built for this torch and for this GPU."""
    import torch

    from ..ops.backends import compiled

    subject = 'compiled operators'
    if compiled.LIBRARY_PROBLEM is not None:
        problem = compiled.LIBRARY_PROBLEM
        return [Finding(subject, FAULT, problem.reason, problem.cure)]
    findings = []
    loaded, *others = compiled.libraries()
    if others:
        detail = (
            f'{loaded.name} is loaded, and beside it lies {", ".join(p.name for p in others)}: one '
            'of them is of an earlier build'
        )
        cure = f'delete them all in {loaded.parent}, then {compiled.BUILD}'
        findings.append(Finding(subject, FAULT, detail, cure))
    info = torch.ops.tinyvim_mm.build_info()
    built = built_for(info)
    if built.partition('+')[0] != torch.__version__.partition('+')[0]:
        detail = f'were compiled for torch {built}, and load by luck with {torch.__version__}'
        findings.append(Finding(subject, FAULT, detail, compiled.BUILD))
    elif built != torch.__version__:
        findings.append(Finding(subject, NOTE, f'for torch {built}', compiled.BUILD))
    else:
        kernels = torch.ops.tinyvim_mm.cpu_capability()
        findings.append(Finding(subject, OK, f'for torch {built}, CPU kernels: {kernels}'))
    return findings + ([_cuda(info)] if torch.cuda.is_available() else [])


def built_for(info: str) -> str:
    """Version of torch in what the library says of itself."""
    found = re.search(r'for torch ([\w.+]+?),?(\s|$)', info)
    return found[1] if found else 'unknown'


def _cuda(info: str) -> Finding:
    import torch

    from ..ops.backends import compiled

    subject = 'compiled CUDA operators'
    obstacle = compiled.cuda_obstacle(torch.device('cuda'), torch.float32)
    if obstacle is not None:
        return Finding(subject, NOTE, obstacle.reason, obstacle.cure)
    found = re.search(r'architectures ([\w. ;+]+)', info)
    listed = found[1] if found else ''
    major, minor = torch.cuda.get_device_capability()
    if found and not covers(machine_codes(listed), major, minor):
        detail = f'are for compute capability {listed}, the GPU has {major}.{minor}'
        cure = f'TORCH_CUDA_ARCH_LIST={major}.{minor} FORCE_CUDA=1 {compiled.BUILD}'
        return Finding(subject, FAULT, detail, cure)
    return Finding(subject, OK, f'for compute capability {listed or "of the building machine"}')


def machine_codes(architectures: str) -> List[str]:
    """``'8.0;9.0+PTX'`` as ``['sm_80', 'sm_90', 'compute_90']``."""
    codes = []
    for entry in re.split(r'[; ]+', architectures.strip()):
        number, plus, _ = entry.partition('+')
        digits = number.replace('.', '')
        codes += [f'sm_{digits}'] + ([f'compute_{digits}'] if plus else [])
    return codes
