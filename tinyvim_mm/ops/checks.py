"""What the public operators require of their arguments."""

from typing import Optional, Sequence

import torch
from torch import Tensor


def check_floating(
    operator: str, optional: Sequence[str] = (), **tensors: Optional[Tensor]
) -> None:
    """Require real floating tensors on one device; those in ``optional`` may be ``None``.

    Raises:
        TypeError: An argument is no tensor, or of an integer or complex type.
        ValueError: Arguments live on different devices.
    """
    first_name, first = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if tensor is None and name in optional:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f'{operator}: {name} must be a tensor, got {type(tensor).__name__}')
        if not tensor.is_floating_point():
            raise TypeError(
                f'{operator}: {name} must be of a real floating type, got {tensor.dtype}'
            )
        if tensor.device != first.device:
            raise ValueError(
                f'{operator}: {name} is on {tensor.device}, but {first_name} is on '
                f'{first.device}; move them to one device'
            )


def check_shape(
    operator: str,
    name: str,
    tensor: Tensor,
    axes: Sequence[str],
    sizes: Sequence[Optional[int]],
) -> None:
    """Require a shape; ``None`` in ``sizes`` leaves that axis free.

    Raises:
        ValueError: It names the operator, the argument, and both shapes.
    """
    fits = tensor.dim() == len(axes) and all(
        size is None or actual == size for actual, size in zip(tensor.shape, sizes, strict=True)
    )
    if not fits:
        wanted = ', '.join(
            axis if size is None or axis == str(size) else f'{axis} = {size}'
            for axis, size in zip(axes, sizes, strict=True)
        )
        raise ValueError(
            f'{operator}: {name} must have shape ({wanted}), got {tuple(tensor.shape)}'
        )


def compute_dtype(x: Tensor) -> torch.dtype:
    """Type of the scan's state and arithmetic: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)


def no_autocast(x: Tensor) -> torch.autocast:
    """Context in which autocast does not lower the precision of the scan."""
    return torch.autocast(device_type=x.device.type, enabled=False)
