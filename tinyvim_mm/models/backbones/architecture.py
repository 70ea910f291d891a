"""Architectures: every number of one in one place, and how ``arch`` is read."""

from dataclasses import dataclass, field
from typing import Any, Mapping, Tuple, Type, Union

from .arguments import check_integer, check_per_stage

#: The name of an architecture, or a dict with ``embed_dims`` and ``depths``.
Arch = Union[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ArchSpec:
    """One architecture. Whatever needs such a number reads it here.

    Two are equal if they are the same network; how it was trained does not count.

    Attributes:
        embed_dims: Channels of each stage.
        depths: Blocks of each stage.
        d_state: States per channel of the scan.
        expansion: Channels of a VMamba's scan per channel of a block.
        image_size: Height and width in pixels of the images that the published network
            was trained and tested with.
        crop_share: Side of the central square that is tested, per shorter side of the
            resized picture.
        drop_path_rate: Stochastic depth of the last block in the published training.
        no_weight_decay: Ends of the names of parameters that take no weight decay,
            beside biases and norms.
    """

    embed_dims: Tuple[int, ...]
    depths: Tuple[int, ...]
    d_state: int = 1
    expansion: int = 2
    image_size: int = field(default=224, compare=False)
    crop_share: float = field(default=0.875, compare=False)
    drop_path_rate: float = field(default=0.0, compare=False)
    no_weight_decay: Tuple[str, ...] = field(default=('A_logs', '.Ds'), compare=False)


def read_arch(
    arch: Arch, settings: Mapping[str, ArchSpec], kind: Type[ArchSpec], num_stages: int
) -> Tuple[str, ArchSpec]:
    """Look an architecture up, or check one that is given as a dict.

    Args:
        arch: See :class:`.StagedBackbone`.
        settings: The named ones.
        kind: Gives those of a dict their other numbers.
        num_stages: How many integers each key needs.

    Returns:
        Its name, ``'custom'`` for a dict, and the architecture.
    """
    if isinstance(arch, str):
        if arch not in settings:
            raise ValueError(
                f'arch must be one of {", ".join(map(repr, settings))} or a dict, got {arch!r}'
            )
        return arch, settings[arch]
    if not isinstance(arch, dict) or set(arch) != {'embed_dims', 'depths'}:
        raise ValueError(
            f"arch as a dict must have exactly the keys 'embed_dims' and 'depths', got {arch!r}"
        )
    for key, values in arch.items():
        least = 2 if key == 'embed_dims' else 1
        check_per_stage(f"arch['{key}']", values, num_stages, check_integer, least)
    return 'custom', kind(tuple(arch['embed_dims']), tuple(arch['depths']))
