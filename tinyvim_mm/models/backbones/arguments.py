"""Checks of the backbones' arguments; each error names the argument."""

import difflib
import inspect
import math
from numbers import Integral, Real
from typing import Any, Callable, List, Mapping, NoReturn, Optional, Sequence

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


#: What other backbones call it, or what is done in another way here.
_ELSEWHERE = {
    'pretrained': "init_cfg=dict(type='Pretrained', checkpoint=FILE)",
    'act_cfg': 'nothing: the activations are those of the paper',
    'conv_cfg': 'nothing: the convolutions are those of the paper',
    'use_checkpoint': 'with_cp',
    'depth': 'arch',
    'variant': 'arch',
}


def refuse_unknown(cls: type, arguments: Mapping[str, Any]) -> NoReturn:
    """Raise for arguments that a backbone does not have; say what was probably meant.

    Raises:
        TypeError: Always.
    """
    known = list(inspect.signature(cls).parameters)
    lines = []
    for name, value in arguments.items():
        line = f'{cls.__name__} has no argument {name!r} (given as {value!r})'
        near = difflib.get_close_matches(name, known, n=2)
        if name in _ELSEWHERE:
            # mmseg sets it in a backbone where the model has one.
            of_model = ' and of the model around it' if name == 'pretrained' else ''
            line += f'; in its place{of_model}: {_ELSEWHERE[name]}'
        elif near:
            line += f'; did you mean {" or ".join(near)}?'
        lines.append(line)
    raise TypeError('\n'.join([*lines, f'Its arguments: {", ".join(known)}']))
