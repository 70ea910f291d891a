"""Parameters and multiply-adds of a network."""

import copy
from dataclasses import dataclass
from typing import Optional, Tuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..models.layers import SS2D
from ..ops.flops import register_with_torch

#: How the figures come about, for the page that shows them.
METHOD = (
    'GMACs are 1e9 multiply-adds at batch 1, counted by `torch.utils.flop_counter` while the '
    'network runs: convolutions, matrix products and attention; the scan with its projections by '
    'the formula in `tinyvim_mm/ops/flops.py`. Norms, activations and pooling are not counted.'
)


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: Number of values that training learns.
        macs: Multiply-adds of one image without the scans; ``None`` if not counted.
        scan_macs: Those of the scans.
    """

    parameters: int
    macs: Optional[float] = None
    scan_macs: Optional[float] = None


def count(model: nn.Module, size: Tuple[int, int], macs: bool = True) -> Cost:
    """Count, on the CPU; the multiply-adds by running the model on ``(1, 3, *size)``."""
    parameters = sum(p.numel() for p in model.parameters())
    if not macs:
        return Cost(parameters)
    register_with_torch()
    model = copy.deepcopy(model).cpu().float()
    scans = [module for module in model.modules() if isinstance(module, SS2D)]
    for module in scans:
        module.backend = None  # the best one, a single operator: its parts are counted by formula
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.rand(1, 3, *size))
    counts = counter.get_flop_counts()['Global']
    scan = sum(value for op, value in counts.items() if 'tinyvim_mm' in str(op)) / 2
    if scans and not scan:  # in plain PyTorch, for want of the compiled operator
        return Cost(parameters)
    return Cost(parameters, sum(counts.values()) / 2 - scan, scan)
