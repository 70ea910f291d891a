"""Installs torch and torchvision that fit each other, in the right build."""

import json
import platform
from typing import Dict, Iterator, List, Tuple

from .common import LOGS, SetupError, ask, run
from .interpreter import VENV_PYTHON
from .uv import Uv
from .wanted import Wanted, ask_venv

PUBLIC = 'download.pytorch.org'
PLAIN_INDEX = 'pip'  # value of --torch-index: whatever the configured sources have
IMPATIENT = {'UV_HTTP_TIMEOUT': '20', 'UV_HTTP_RETRIES': '1'}  # many networks block PUBLIC

FACTS = """
import json, torch
gpu = torch.version.cuda and torch.cuda.is_available()
try:
    import torchvision
    torchvision.ops.nms(torch.tensor([[0., 0., 1., 1.]]), torch.ones(1), 0.5)
    problem = ''
except Exception as error:
    problem = f'{type(error).__name__}: {error}'
print(json.dumps(dict(version=torch.__version__, cuda=torch.version.cuda, torchvision=problem,
    capability='sm%d%d' % torch.cuda.get_device_capability() if gpu else '')))
"""


def candidates(wanted: Wanted) -> Iterator[Tuple[List[str], str]]:
    """Arguments of an installation that may give the pair, best first, and a note on each.

    Asked for as ``+cpu``, a CPU build is found or not found by its name; nothing
    of a gigabyte has to be loaded to learn what it is.
    """
    pair = [wanted.torch, wanted.torchvision]
    index = wanted.options.torch_index
    if index and index != PLAIN_INDEX:
        yield [*pair, '--default-index', index], ''
        return
    if index or platform.system() == 'Darwin':
        yield pair, ''
        return
    if wanted.device == 'cuda':
        # It chooses the build by what the driver supports.
        yield [*pair, '--torch-backend', 'auto'], ''
        yield pair, f'{PUBLIC} cannot be used: taking the build that the package index has'
        return
    cpu = wanted.torch + '+cpu'
    if '==' in wanted.torchvision:
        yield [cpu, wanted.torchvision + '+cpu'], ''  # a mirror, a folder of wheels
    yield [*pair, '--torch-backend', 'cpu'], ''
    if wanted.mmcv == 'compiled' or wanted.mmcv_wheels:
        yield (
            [cpu, wanted.torchvision],
            (
                'no CPU build of torchvision is offered here; beside the CPU build of torch, the '
                'transforms and models of another build work (tinyvim_mm sees to it), its '
                'operators do not'
            ),
        )
    yield (
        pair,
        (
            f'no CPU builds of {wanted.torch} and a fitting torchvision are offered here, neither '
            f'by the sources that pip is configured with nor by {PUBLIC}: taking what there is, '
            'perhaps the CUDA builds, of 5.5 GB, which run without a GPU, too'
        ),
    )


def install_pair(wanted: Wanted, uv: Uv) -> Dict[str, str]:
    """Install the first candidate that the package sources have, and look at it.

    Returns:
        The facts of the installed torch, of :data:`FACTS`.
    """
    base = ['pip', 'install', '--python', VENV_PYTHON]
    reasons = []
    for arguments, note in candidates(wanted):  # noqa: B007
        probe = [uv.path, *base, '--dry-run', '--quiet', *arguments]
        offered, _, error = ask(probe, dict(uv.variables, **IMPATIENT))
        if offered:
            break
        reasons.append(f'{" ".join(arguments)}\n{error}')
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / 'torch.log').write_text('\n'.join(reasons), encoding='utf-8')
    if not offered:
        raise SetupError(
            f'{wanted.torch} with a fitting torchvision cannot be had:\n{error.strip()}\n'
            f'All that was tried: {LOGS / "torch.log"}\nWhat helps: make TORCH_INDEX=<address of a '
            'mirror of https://download.pytorch.org/whl/cpu> demo, or another torch: '
            f'make TORCH={wanted.pins.TORCH.partition("==")[2]} demo'
        )
    if note:
        print(f'  {note}', flush=True)
    run('the installation of torch', uv.command(*base, *arguments), uv.variables)
    facts = torch_facts()
    if wanted.device == 'cuda' and facts['cuda'] is None:
        raise SetupError(
            f'torch {facts["version"]} was found, which has no CUDA. Name the index of a CUDA '
            f'build, such as make TORCH_INDEX=https://{PUBLIC}/whl/cu130 demo, or use make '
            'DEVICE=cpu demo'
        )
    if wanted.device == 'cuda' and not facts['capability']:
        print(f'  torch {facts["version"]} sees no GPU: is the driver new enough?')
    return facts


def torch_facts() -> Dict[str, str]:
    """What the installed torch says of itself, and whether torchvision's operators work."""
    worked, answer = ask_venv(FACTS)
    if not worked:
        raise SetupError(f'torch is installed but fails to import: {answer[-1]}')
    return json.loads(answer[-1])
