"""Checks of what a config gives to a backbone; each error names the argument."""

from numbers import Integral, Real
from typing import Any, Callable, Optional, Sequence


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
    """Require a real number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f'{name} must be a number, got {value!r}')


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
