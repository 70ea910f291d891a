"""Why a backend cannot run."""

from dataclasses import dataclass
from typing import Optional

import torch

from ...core.environment import with_hint
from ...core.errors import CURABLE


@dataclass(frozen=True)
class Obstacle:
    """What keeps a backend from running, and what helps; as a string both in one sentence.

    Attributes:
        reason: What is in the way.
        cure: The command or the action that removes it; empty if nothing does.
        joint: What stands between the two in a sentence.
    """

    reason: str
    cure: str = ''
    joint: str = '; '

    def __str__(self) -> str:
        return f'{self.reason}{self.joint}{self.cure}' if self.cure else self.reason


class BackendUnavailableError(RuntimeError):
    """The requested backend cannot run here; the message says why and names the cure.

    Attributes:
        obstacle: The same, in parts.

    Args:
        name: The backend.
        obstacle: Why it cannot run.
    """

    exit_code = CURABLE

    def __init__(self, name: str, obstacle: Obstacle) -> None:
        super().__init__(with_hint(f'scan backend {name!r} cannot run here: {obstacle}'))
        self.obstacle = obstacle


# A constant, because torch.compile may not be able to trace how it is made.
_FLOAT32_ONLY = Obstacle('it computes in float32', "for float64 choose 'parallel' or 'reference'")


def float64_obstacle(dtype: torch.dtype) -> Optional[Obstacle]:
    """The obstacle of backends that compute in float32, for tensors of a given type."""
    return _FLOAT32_ONLY if dtype == torch.float64 else None


def not_on_cuda(device: torch.device) -> Obstacle:
    """The obstacle of backends for CUDA devices, for tensors on another device."""
    return Obstacle(f'it computes on CUDA devices; the tensors are on {device.type}')
