"""What the public operators require of their arguments."""

import contextlib
from typing import ContextManager, Optional, Sequence

import torch
from torch import Tensor

from .scan_paths import ScanOrder, check_paths
from .tracing import is_traced


def check_floating(
    operator: str, optional: Sequence[str] = (), **tensors: Optional[Tensor]
) -> None:
    """Require real floating tensors on one device; those in ``optional`` may be ``None``.

    Raises:
        TypeError: An argument is no tensor, or of an integer or complex type.
        ValueError: Arguments live on different devices.
    """
    first_name, first = next(iter(tensors.items()))
    if isinstance(first, Tensor) and first.dtype in _KERNEL_TYPES:
        for tensor in tensors.values():  # what most calls pass, told in a microsecond
            if not (
                type(tensor) in _PLAIN
                and tensor.dtype == first.dtype
                and tensor.device == first.device
                and tensor.layout == torch.strided
                and not tensor.is_nested
            ):
                break
        else:
            return
    for name, tensor in tensors.items():
        if tensor is None and name in optional:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f'{operator}: {name} must be a tensor, got {type(tensor).__name__}')
        _check_dense(operator, name, tensor)
        if not tensor.is_floating_point():
            raise TypeError(
                f'{operator}: {name} must be of a real floating type, got {tensor.dtype}'
            )
        if tensor.device != first.device:
            raise ValueError(
                f'{operator}: {name} is on {tensor.device}, but {first_name} is on '
                f'{first.device}; move them to one device'
            )


def _check_dense(operator: str, name: str, tensor: Tensor) -> None:
    if tensor.layout == torch.strided and not (tensor.is_nested or tensor.is_quantized):
        return
    kind = 'nested' if tensor.is_nested else 'quantized' if tensor.is_quantized else tensor.layout
    raise TypeError(
        f'{operator}: {name} must be a dense tensor, got a {kind} one; convert it with to_dense(), '
        'to_padded_tensor() or dequantize()'
    )


_PLAIN = (Tensor, torch.nn.Parameter)
_KERNEL_TYPES = (torch.float32, torch.float16, torch.bfloat16)


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
    shape = tensor.shape
    fits = len(shape) == len(axes)
    if fits and shape != sizes:
        for actual, size in zip(shape, sizes, strict=True):
            fits = fits and (size is None or actual == size)
    if not fits:
        wanted = ', '.join(
            axis if size is None or axis == str(size) else f'{axis} = {size}'
            for axis, size in zip(axes, sizes, strict=True)
        )
        raise ValueError(
            f'{operator}: {name} must have shape ({wanted}), got {tuple(tensor.shape)}'
        )


def check_states(operator: str, A: Tensor) -> None:
    """Require at least one state in ``A`` or ``A_logs``, whose last axis is ``N``."""
    if A.shape[1] == 0:
        raise ValueError(
            f'{operator}: N must be at least 1, got a tensor of shape {tuple(A.shape)}'
        )


def check_ss2d_weights(operator: str, weights: Sequence[Tensor], K: int, d: int) -> None:
    """Require the shapes of the weights of :func:`tinyvim_mm.ops.ss2d`, in its order."""
    x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds = weights
    check_shape(operator, 'dt_projs_weight', dt_projs_weight, ('K', 'd', 'R'), (K, d, None))
    check_shape(operator, 'A_logs', A_logs, ('K * d', 'N'), (K * d, None))
    check_states(operator, A_logs)
    rows = dt_projs_weight.shape[2] + 2 * A_logs.shape[1]
    check_shape(operator, 'x_proj_weight', x_proj_weight, ('K', 'R + 2N', 'd'), (K, rows, d))
    check_shape(operator, 'dt_projs_bias', dt_projs_bias, ('K', 'd'), (K, d))
    check_shape(operator, 'Ds', Ds, ('K * d',), (K * d,))


def check_order(operator: str, order: ScanOrder, x: Tensor) -> ScanOrder:
    """Require the paths of ``x``, or a table of its positions.

    That the rows of a table are permutations is checked once for each tensor and
    change of it, since its values have to come from the device for that.
    ``torch.compile``, ``torch.export`` and ``torch.jit.trace`` see no values.

    Args:
        operator: Its name, for messages.
        order: The argument ``paths`` of the operator.
        x: What it will scan, ``(batch, d, H, W)``.

    Returns:
        The order; a table as int64.

    Raises:
        TypeError: These are no paths, or the table is not of integers.
        ValueError: The table has another shape or device than ``x`` asks for, or a
            row is no permutation.
    """
    if not isinstance(order, Tensor):
        check_paths(operator, order)
        return order
    _check_dense(operator, 'paths', order)
    if order.is_floating_point() or order.is_complex() or order.dtype == torch.bool:
        raise TypeError(f'{operator}: paths must be of an integer type, got {order.dtype}')
    length = x.shape[2] * x.shape[3]
    check_shape(operator, 'paths', order, ('K', 'H * W'), (None, length))
    if len(order) == 0:
        raise ValueError(f'{operator}: paths must hold at least one path, got none')
    if order.device != x.device:
        raise ValueError(
            f'{operator}: paths is on {order.device}, but x is on {x.device}; move them to one '
            'device'
        )
    if not (is_traced() or order.is_meta or _is_checked(order)):
        _check_rows(operator, order.cpu().long())
        mark_checked(order)
    return cast(order, torch.int64)


def mark_checked(table: Tensor) -> None:
    """Spare the rows of this table another check until it is changed in place."""
    if not (is_traced() or table.is_inference()):  # which counts no changes
        table._version_when_checked = table._version


def _is_checked(table: Tensor) -> bool:
    version = getattr(table, '_version_when_checked', None)
    return version is not None and version == table._version


def _check_rows(operator: str, table: Tensor) -> None:
    length = table.shape[1]
    for k, row in enumerate(table):
        outside = row[(row < 0) | (row >= length)]
        if len(outside):
            raise ValueError(
                f'{operator}: row {k} of paths holds {outside[0].item()}, but the positions of '
                f'the map are 0 to {length - 1}'
            )
        counts = torch.bincount(row, minlength=length)
        if (counts != 1).any():
            raise ValueError(
                f'{operator}: row {k} of paths must hold each position once, but holds '
                f'{counts.argmax().item()} {counts.max().item()} times and '
                f'{counts.argmin().item()} not at all'
            )


def compute_dtype(x: Tensor) -> torch.dtype:
    """Type of the scan's state and arithmetic: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """``tensor.to(dtype)``, of which exported graphs show nothing where it changes nothing."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def no_autocast(x: Tensor) -> ContextManager:
    """Context in which autocast does not lower the precision of the scan."""
    # Where it is off already, exported programs shall have no such region.
    if x.device.type == 'meta' or not _autocasts(x.device.type):
        return contextlib.nullcontext()
    return torch.autocast(device_type=x.device.type, enabled=False)


def _autocasts(device: str) -> bool:
    if _AUTOCAST_OF_A_DEVICE:
        return torch.is_autocast_enabled(device)
    return torch.is_autocast_cpu_enabled() if device == 'cpu' else torch.is_autocast_enabled()


# Since torch 2.4 that function takes a device.
_AUTOCAST_OF_A_DEVICE = hasattr(torch, 'get_autocast_dtype')
