"""Checks of the backbones' arguments; each error names the argument."""

import math
from numbers import Integral, Real
from typing import Any, Callable, List, Optional, Sequence

import torch


def linear_drop_paths(rate: float, depths: Sequence[int]) -> List[List[float]]:
    """Rates of stochastic depth of each stage's blocks, from 0 in the first to ``rate``."""
    check_number('drop_path_rate', rate)
    if not 0.0 <= rate < 1.0:
        raise ValueError(f'drop_path_rate must be in [0, 1), got {rate}')
    # On the CPU: the model may be built on the meta device, whose tensors have no values.
    rates = torch.linspace(0, rate, sum(depths), device='cpu')
    return [part.tolist() for part in rates.split(list(depths))]


def check_integer(name: str, value: Any, least: Optional[int] = None) -> None:
    """Require an integer, of at least ``least``."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f'{name} must be an integer, got {value!r}')
    if least is not None and value < least:
        raise ValueError(f'{name} must be at least {least}, got {value}')


def check_number(name: str, value: Any) -> None:
    """Require a finite real number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f'{name} must be a number, got {value!r}')
    if not math.isfinite(value):
        raise ValueError(f'{name} must be finite, got {value!r}')


def check_per_stage(
    name: str, values: Any, length: int, check: Callable[..., None], *limits: Any
) -> None:
    """Require a sequence of ``length``, one value per stage; ``check(.., *limits)`` each."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f'{name} must be a sequence with one value per stage, got {values!r}')
    if len(values) != length:
        raise ValueError(f'{name} must have one value per stage, {length} in all, got {values!r}')
    for i, value in enumerate(values):
        check(f'{name}[{i}]', value, *limits)
