"""Arguments that the backbones have in common: reading and checking them.

Each error names the argument.
"""

import math
from numbers import Integral, Real
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch

from ...ops.backends import BACKENDS


def read_arch(
    arch: Union[str, dict], settings: Mapping[str, Dict[str, Any]], num_stages: int
) -> Tuple[str, Tuple[int, ...], Tuple[int, ...]]:
    """Look an architecture up, or check one that is given as a dict.

    Args:
        arch: A key of ``settings``, or a dict with ``embed_dims`` and ``depths``.
        settings: The named ones.
        num_stages: How many integers each needs.

    Returns:
        Its name, ``'custom'`` for a dict, the width and the number of blocks of each stage.

    Raises:
        TypeError: Its values are no sequences of integers.
        ValueError: It is none.
    """
    name = arch if isinstance(arch, str) else 'custom'
    if isinstance(arch, str):
        if arch not in settings:
            raise ValueError(
                f'arch must be one of {", ".join(map(repr, settings))} or a dict, got {arch!r}'
            )
        arch = settings[arch]
    if not isinstance(arch, dict) or set(arch) != {'embed_dims', 'depths'}:
        raise ValueError(
            f"arch as a dict must have exactly the keys 'embed_dims' and 'depths', got {arch!r}"
        )
    for key, values in arch.items():
        least = 2 if key == 'embed_dims' else 1
        check_per_stage(f"arch['{key}']", values, num_stages, check_integer, least)
    return name, tuple(arch['embed_dims']), tuple(arch['depths'])


def linear_drop_paths(rate: float, depths: Sequence[int]) -> List[List[float]]:
    """Rates of stochastic depth, from 0 in the first block to ``rate`` in the last.

    Args:
        rate: Of the last block.
        depths: Blocks of each stage.

    Returns:
        For each stage, the rates of its blocks.

    Raises:
        ValueError: ``rate`` is not in ``[0, 1)``.
    """
    check_number('drop_path_rate', rate)
    if not 0.0 <= rate < 1.0:
        raise ValueError(f'drop_path_rate must be in [0, 1), got {rate}')
    # On the CPU: the model may be built on the meta device, whose tensors have no values.
    rates = torch.linspace(0, rate, sum(depths), device='cpu')
    return [part.tolist() for part in rates.split(list(depths))]


def check_flag(name: str, value: Any) -> None:
    """Require ``True`` or ``False``."""
    if not isinstance(value, bool):
        raise TypeError(f'{name} must be True or False, got {value!r}')


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
    """Require a sequence with one value per stage.

    Args:
        name: Of the argument.
        values: What was given.
        length: How many stages there are.
        check: Applied to each value.
        limits: Further arguments of it.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f'{name} must be a sequence with one value per stage, got {values!r}')
    if len(values) != length:
        raise ValueError(f'{name} must have one value per stage, {length} in all, got {values!r}')
    for i, value in enumerate(values):
        check(f'{name}[{i}]', value, *limits)


def check_shared(in_channels: Any, normalize_outputs: Any, ssm_backend: Any, d_state: Any) -> None:
    """Check the arguments that every backbone takes and hands on."""
    check_integer('in_channels', in_channels, 1)
    check_integer('d_state', d_state, 1)
    check_flag('normalize_outputs', normalize_outputs)
    if ssm_backend not in (None, 'auto', *BACKENDS):
        raise ValueError(
            f'ssm_backend must be None or one of {", ".join(["auto", *BACKENDS])}, '
            f'got {ssm_backend!r}'
        )
