"""The orders in which a 2-D map is read, as data.

Operators take an order as an argument, so that a backbone with other directions
needs no other operator. There are two forms:

- a sequence of :class:`ScanPath`: rows or columns, forwards or backwards. They fit
  maps of any size, and the compiled kernels know them.
- a table of positions: an integer tensor ``(K, L)`` for maps of ``L = H * W``
  positions, ``row * W + column``. Row ``k`` lists all of them in the order in which
  path ``k`` reads them. :func:`position_table` makes the table of given paths.
"""

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple, Union

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScanPath:
    """One order of the ``H * W`` positions of a map.

    What :meth:`read` does defines it: the compiled and Triton kernels and the tables
    are tested against it.

    Attributes:
        transpose: Read column by column instead of row by row.
        reverse: Read from the last position to the first.
    """

    transpose: bool = False
    reverse: bool = False

    def code(self) -> int:
        """The path as the kernels know it (``kernels/csrc/common/scan_path.h``)."""
        return int(self.transpose) + 2 * int(self.reverse)

    @classmethod
    def from_code(cls, code: int) -> 'ScanPath':
        """The path of a :meth:`code`."""
        return cls(bool(code & 1), bool(code & 2))

    def read(self, x: Tensor) -> Tensor:
        """Maps ``(..., H, W)`` as sequences ``(..., H * W)``."""
        if self.transpose:
            x = x.transpose(-1, -2)
        # Traced graphs get more operators for flatten and unflatten.
        x = x.reshape(*x.shape[:-2], -1)
        return x.flip(-1) if self.reverse else x

    def put_back(self, sequence: Tensor, height: int, width: int) -> Tensor:
        """Sequences ``(..., height * width)`` as the maps that :meth:`read` read."""
        if self.reverse:
            sequence = sequence.flip(-1)
        if self.transpose:
            return sequence.reshape(*sequence.shape[:-1], width, height).transpose(-1, -2)
        return sequence.reshape(*sequence.shape[:-1], height, width)


ScanPaths = Tuple[ScanPath, ...]
#: Paths, or a table of positions ``(K, L)``.
ScanOrder = Union[Sequence[ScanPath], Tensor]

#: The four directions of SS2D (VMamba; TinyViM, Sec. 3): row-major,
#: column-major, and each reversed.
CROSS_SCAN: ScanPaths = (
    ScanPath(),
    ScanPath(transpose=True),
    ScanPath(reverse=True),
    ScanPath(transpose=True, reverse=True),
)

#: Row-major and its reverse.
BIDIRECTIONAL: ScanPaths = (ScanPath(), ScanPath(reverse=True))

#: The directions of the four grids of a skip-sampled scan (EfficientVMamba), see
#: :func:`tinyvim_mm.ops.scan_skipping`.
SKIP_SCAN: ScanPaths = (ScanPath(), ScanPath(transpose=True)) * 2


def check_paths(operator: str, paths: Sequence[ScanPath]) -> None:
    """Require a sequence of paths, at least one.

    Raises:
        TypeError: It is none, or holds something else.
        ValueError: It is empty.
    """
    wanted = 'paths must hold ScanPath objects or be an integer tensor (K, H * W)'
    if not isinstance(paths, Sequence):
        raise TypeError(f'{operator}: {wanted}, got {type(paths).__name__}')
    for path in paths:
        if not isinstance(path, ScanPath):
            raise TypeError(f'{operator}: {wanted}, got {type(path).__name__}')
    if not paths:
        raise ValueError(f'{operator}: paths must hold at least one path, got none')


def position_table(
    paths: Sequence[ScanPath],
    height: int,
    width: int,
    device: Optional[torch.device] = None,
) -> Tensor:
    """The positions that paths visit, in turn.

    Args:
        paths: The ``K`` paths.
        height: Rows of the map.
        width: Columns of the map.
        device: Where the table shall be.

    Returns:
        ``(K, height * width)``, int64.
    """
    check_paths('position_table', paths)
    positions = torch.arange(height * width, device=device).reshape(height, width)
    return torch.stack([path.read(positions) for path in paths])


def time_table(
    paths: Sequence[ScanPath],
    height: int,
    width: int,
    device: Optional[torch.device] = None,
) -> Tensor:
    """The inverse of :func:`position_table`: when each path visits each position."""
    times = torch.arange(height * width, device=device)
    return torch.stack([path.put_back(times, height, width).reshape(-1) for path in paths])


def cross_scan(x: Tensor, order: ScanOrder) -> Tensor:
    """Read maps in the order of each path.

    Args:
        x: ``(batch, K, channels, H, W)``, one map per path, or
            ``(batch, 1, channels, H, W)``, one map that all paths read.
        order: The ``K`` paths, or their table ``(K, H * W)``.

    Returns:
        ``(batch, K, channels, H * W)``.
    """
    maps = x.expand(-1, len(order), -1, -1, -1)
    if isinstance(order, Tensor):
        return reorder(maps.flatten(-2), order)
    return torch.stack([path.read(x) for x, path in zip(maps.unbind(1), order, strict=True)], 1)


def reorder(sequences: Tensor, table: Tensor) -> Tensor:
    """Read each sequence of ``(batch, K, channels, L)`` in the order of its row of a table."""
    pairs = zip(sequences.unbind(1), table.unbind(), strict=True)
    return torch.stack([sequence.index_select(-1, row) for sequence, row in pairs], 1)


def cross_merge(y: Tensor, height: int, width: int, order: ScanOrder) -> Tensor:
    """Put sequences back at their positions and sum over the paths.

    Args:
        y: ``(batch, K, channels, height * width)``.
        height: Rows of the map.
        width: Columns of the map.
        order: What :func:`cross_scan` was given.

    Returns:
        ``(batch, channels, height, width)``.
    """
    if isinstance(order, Tensor):
        times = torch.arange(order.shape[1], device=order.device).expand_as(order)
        rows = torch.zeros_like(order).scatter(1, order, times).unbind()
        pairs = zip(y.unbind(1), rows, strict=True)
        planes = [s.index_select(-1, row).unflatten(-1, (height, width)) for s, row in pairs]
    else:
        pairs = zip(y.unbind(1), order, strict=True)
        planes = [path.put_back(sequence, height, width) for sequence, path in pairs]
    # One plane is a view, and what is returned may be changed in place.
    merged = planes[0].clone() if len(planes) == 1 else planes[0]
    for plane in planes[1:]:
        merged = merged + plane
    return merged
