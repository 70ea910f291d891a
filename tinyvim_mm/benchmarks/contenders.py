"""Shapes of scans in vision models, and what computes them."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..ops import (
    BIDIRECTIONAL,
    CROSS_SCAN,
    SKIP_SCAN,
    available_backends,
    scan_skipping,
    selective_scan,
    ss2d,
)
from ..ops.scan_paths import ScanPath, cross_merge, cross_scan

#: The contender that stands for how vision models usually do it.
USUAL = 'usual'


@dataclass(frozen=True)
class Case:
    """One shape: ``batch`` maps of ``d`` channels and ``height * width`` positions.

    With ``skips`` each path scans a grid of its own, as in EfficientVMamba.
    """

    name: str
    d: int
    dt_rank: int
    d_state: int
    height: int
    width: int
    paths: Tuple[ScanPath, ...] = CROSS_SCAN
    batch: int = 1
    skips: bool = False

    def scan(self, operator: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
        """What the case asks for, computed by an operator with the arguments of ``ss2d``."""
        if self.skips:
            return scan_skipping(operator, *arguments, self.paths)
        return operator(*arguments, self.paths)

    def arguments(self, device: torch.device) -> List[Tensor]:
        """Arguments of ``ss2d`` with trained-looking values."""
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        K, d, R, N = len(self.paths), self.d, self.dt_rank, self.d_state
        states = torch.arange(1.0, N + 1).log()
        tensors = [
            normal(self.batch, d, self.height, self.width),
            normal(K, R + 2 * N, d) / d**0.5,
            normal(K, d, R) / R**0.5,
            normal(K, d) - 3,
            states + 0.1 * normal(K * d, N),
            1 + 0.1 * normal(K * d),
        ]
        tensors[0] = tensors[0].to(memory_format=torch.channels_last)
        return [tensor.to(device).requires_grad_() for tensor in tensors]

    @property
    def exponentials(self) -> int:
        """Of one forward pass: one per image, position that a path reads, channel and state."""
        readings = 1 if self.skips else len(self.paths)
        positions = self.batch * readings * self.height * self.width
        return positions * self.d * self.d_state


def cases(batch: int) -> List[Case]:
    """All shapes: TinyViM-B, and the first stages of the other networks."""
    # d and dt_rank of the five mixers' four kinds; the grid is always stride 32.
    stages = ((12, 3), (48, 6), (96, 12), (288, 24))
    return [
        *(
            Case(f'TinyViM-B stage {i + 1}, {size}', d, R, 8, *grid, batch=batch)
            for size, grid in (('224x224', (7, 7)), ('800x1344', (25, 42)))
            for i, (d, R) in enumerate(stages)
        ),
        Case('VMamba-T stage 1, N = 1', 96, 6, 1, 56, 56, batch=batch),
        Case('VMamba-T stage 1, N = 16', 192, 6, 16, 56, 56, batch=batch),
        Case('MobileMamba-S6 stage 1, 224x224', 320, 10, 1, 14, 14, BIDIRECTIONAL, batch=batch),
        Case('MobileMamba-B1 stage 1, 800x1344', 320, 10, 1, 50, 84, BIDIRECTIONAL, batch=batch),
        Case('EfficientVMamba-T stage 1', 96, 3, 16, 56, 56, SKIP_SCAN, batch=batch, skips=True),
    ]


def usual_ss2d(*arguments: Any, scan_backend: str) -> Tensor:
    """SS2D as vision models usually write it: all directions copied, projected, scanned.

    Positional arguments are those of :func:`tinyvim_mm.ops.ss2d`.
    """
    x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds, paths = arguments
    K, d, R = dt_projs_weight.shape
    N = A_logs.shape[1]
    xs = cross_scan(x.unsqueeze(1), paths)
    projected = torch.einsum('bkdl,kcd->bkcl', xs, x_proj_weight)
    dt_low, B, C = projected.split([R, N, N], dim=2)
    delta = torch.einsum('bkrl,kdr->bkdl', dt_low, dt_projs_weight)
    y = selective_scan(
        xs.flatten(1, 2),
        delta.flatten(1, 2),
        -A_logs.exp(),
        B.contiguous(),
        C.contiguous(),
        Ds,
        delta_bias=dt_projs_bias.flatten(),
        delta_softplus=True,
        backend=scan_backend,
    )
    return cross_merge(y.unflatten(1, (K, d)), *x.shape[-2:], paths)


def contenders(
    case: Case, device: torch.device, wanted: Optional[Sequence[str]] = None
) -> Tuple[Dict[str, Callable[..., Tensor]], Dict[str, str]]:
    """What computes a case here, and why other backends cannot.

    Returns:
        By name, functions that take the tensors of :meth:`Case.arguments`, only those that
        are ``wanted`` if any are; and by name of a backend what stands in its way.
    """
    functions: Dict[str, Callable[..., Tensor]] = {}
    absent: Dict[str, str] = {}
    for name, obstacle in available_backends(device.type).items():
        if name.startswith('exportable'):  # made for other runtimes
            continue
        if obstacle is not None:
            absent[name] = str(obstacle)
            continue
        functions[name] = partial(case.scan, partial(ss2d, backend=name))
    strongest = 'mamba_ssm' if 'mamba_ssm' in functions else 'parallel'
    usual = partial(usual_ss2d, scan_backend=strongest)
    functions[f'{USUAL} ({strongest} scan)'] = partial(case.scan, usual)
    if wanted is not None:
        functions = {n: f for n, f in functions.items() if n.split()[0] in wanted}
    return functions, absent
