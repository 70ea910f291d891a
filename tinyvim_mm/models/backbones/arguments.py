"""Arguments that the backbones have in common: reading and checking them."""

from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

import torch


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
        check_length(f"arch['{key}']", values, num_stages)
        if min(values) < (2 if key == 'embed_dims' else 1):
            raise ValueError(f"arch['{key}'] is too small: {values!r}")
    return name, tuple(arch['embed_dims']), tuple(arch['depths'])


def check_length(name: str, values: Sequence, length: int) -> None:
    """Raise a ValueError unless there is one value per stage."""
    if len(values) != length:
        raise ValueError(f'{name} must have one value per stage, {length} in all, got {values!r}')


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
    if not 0.0 <= rate < 1.0:
        raise ValueError(f'drop_path_rate must be in [0, 1), got {rate}')
    # On the CPU: the model may be built on the meta device, whose tensors have no values.
    rates = torch.linspace(0, rate, sum(depths), device='cpu')
    return [part.tolist() for part in rates.split(list(depths))]
