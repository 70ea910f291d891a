"""mamba-ssm's scan, where that package is installed with its CUDA module.

It is taken by name only: it has one direction, so SS2D writes a copy of the map
per path, and it sums the gradients of ``B`` and ``C`` by atomics, so they
differ in the last bits from run to run.
"""

import functools
import importlib
import importlib.util
from typing import Callable, Optional, Tuple

import torch
from torch import Tensor

from .obstacle import Obstacle, float64_obstacle, not_on_cuda
from .registration import constant_when_traced

_LARGEST_STATE = 256
# Without build isolation the build sees the installed torch; without the cache
# pip cannot take a wheel that was once built without the CUDA module.
_INSTALL = 'pip install --no-build-isolation --no-cache-dir'
_BUILD = f'MAMBA_FORCE_BUILD=TRUE {_INSTALL} --no-deps --force-reinstall mamba-ssm'


@constant_when_traced
def obstacle(device: torch.device, dtype: torch.dtype) -> Optional[Obstacle]:
    """What keeps mamba-ssm from computing with such tensors."""
    if device.type != 'cuda':
        return not_on_cuda(device)
    return float64_obstacle(dtype) or _load()[0]


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Optional[Tensor],
    delta_bias: Optional[Tensor],
    delta_softplus: bool,
) -> Tuple[Tensor, Tensor]:
    """See :func:`.reference.selective_scan`; all tensors are float32.

    No gradient flows through the last state: mamba-ssm's backward ignores it.
    """
    N = A.shape[1]
    if N > _LARGEST_STATE:
        raise ValueError(
            f'selective_scan: mamba-ssm takes at most N = {_LARGEST_STATE} states, A has {N}; '
            "choose another backend, for example 'triton'"
        )
    if N == 0:  # nothing that its kernel could be launched on
        y = torch.zeros_like(u) if D is None else u * D[:, None]
        return y, u.new_zeros(*u.shape[:2], N)
    problem, function = _load()
    if function is None:
        raise RuntimeError(f'selective_scan: mamba-ssm cannot be used: {problem}')
    y, state = function(
        u,
        delta,
        A,
        B,
        C,
        D=D,
        z=None,
        delta_bias=delta_bias,
        delta_softplus=delta_softplus,
        return_last_state=True,
    )
    return y, state.detach()


@functools.cache
def _load() -> Tuple[Optional[Obstacle], Optional[Callable]]:
    """Import mamba-ssm's function once: what prevents that, and the function."""
    # Looked for before importing: importing mamba_ssm loads its language models
    # and all that they need, and dies of the first package that is absent.
    if importlib.util.find_spec('mamba_ssm') is None:
        return Obstacle('mamba-ssm is not installed', f'{_INSTALL} mamba-ssm', ': '), None
    if importlib.util.find_spec('selective_scan_cuda') is None:
        problem = Obstacle(
            'mamba-ssm was installed without its CUDA module selective_scan_cuda; with nvcc '
            'installed',
            f'MAMBA_SKIP_CUDA_BUILD=FALSE {_BUILD}',
            ': ',
        )
        return problem, None
    try:
        module = importlib.import_module('mamba_ssm.ops.selective_scan_interface')
    except ModuleNotFoundError as error:
        return Obstacle(
            f'mamba-ssm needs the package {error.name}', f'pip install {error.name}', ': '
        ), None
    except Exception as error:  # noqa: BLE001 - a broken installation is reported as such
        problem = Obstacle(
            f'mamba-ssm is installed but does not import ({type(error).__name__}: {error}); build '
            'it again for this torch',
            _BUILD,
            ': ',
        )
        return problem, None
    return None, module.selective_scan_fn
