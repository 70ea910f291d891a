"""The orders in which a 2-D map is read, as data.

A set of paths is a tuple of :class:`ScanPath`; operators take it as an
argument, so that a backbone with other directions needs no other operator.
"""

from dataclasses import dataclass
from typing import Sequence, Tuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScanPath:
    """One order of the ``H * W`` positions of a map.

    Attributes:
        transpose: Read column by column instead of row by row.
        reverse: Read from the last position to the first.
    """

    transpose: bool = False
    reverse: bool = False

    def code(self) -> int:
        """The path as the compiled kernels know it (``kernels/csrc/common/scan_path.h``)."""
        return int(self.transpose) + 2 * int(self.reverse)


ScanPaths = Tuple[ScanPath, ...]

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


def cross_scan(x: Tensor, paths: Sequence[ScanPath]) -> Tensor:
    """Read maps along paths.

    Args:
        x: ``(batch, K, channels, H, W)``, one map per path, or
            ``(batch, 1, channels, H, W)``, one map that all paths read.
        paths: The ``K`` paths.

    Returns:
        ``(batch, K, channels, H * W)``.
    """
    shared = x.shape[1] == 1
    sequences = []
    for k, path in enumerate(paths):
        sequence = x[:, 0 if shared else k]
        if path.transpose:
            sequence = sequence.transpose(-1, -2)
        sequence = sequence.flatten(-2)
        sequences.append(sequence.flip(-1) if path.reverse else sequence)
    return torch.stack(sequences, 1)


def cross_merge(y: Tensor, height: int, width: int, paths: Sequence[ScanPath]) -> Tensor:
    """Put sequences back at their positions and sum over the paths.

    Args:
        y: ``(batch, K, channels, height * width)``.
        height: Rows of the map.
        width: Columns of the map.
        paths: The ``K`` paths along which ``y`` was read.

    Returns:
        ``(batch, channels, height, width)``.
    """
    merged = None
    for sequence, path in zip(y.unbind(1), paths, strict=True):
        if path.reverse:
            sequence = sequence.flip(-1)
        if path.transpose:
            plane = sequence.unflatten(-1, (width, height)).transpose(-1, -2)
        else:
            plane = sequence.unflatten(-1, (height, width))
        merged = plane if merged is None else merged + plane
    return merged
