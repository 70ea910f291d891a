"""One level of the two-dimensional Haar transform, in additions.

The four filters are 2x2 with stride 2 and all entries +-1/2. Written as a matrix
over the four pixels of a cell they are symmetric and orthonormal, so that the
transform is its own inverse.
"""

from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

#: Signs of the bands' filters over the pixels of a cell: rows' means and differences by columns'.
_SIGNS = ((1, 1, 1, 1), (1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))
#: What a filter's entries are, beside their signs.
HAAR_GAIN = 0.5


def haar_filters(channels: int) -> Tensor:
    """The filters of a depthwise convolution, ``(4 * channels, 1, 2, 2)``, by channel."""
    filters = HAAR_GAIN * torch.tensor(_SIGNS, dtype=torch.float32, device='cpu')
    return filters.view(4, 1, 2, 2).repeat(channels, 1, 1, 1)


def split_bands(x: Tensor) -> Tensor:
    """The bands, each times two (``1 / HAAR_GAIN``).

    ``(batch, channels, H, W)`` with ``H`` and ``W`` even gives
    ``(batch, 4 * channels, H / 2, W / 2)``, one band after the other.
    """
    pixels = (x[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
    return torch.cat(_butterfly(*pixels), 1)


def join_bands(bands: Tensor) -> Tensor:
    """The inverse of :func:`split_bands`, but for the factor of 4."""
    pixels = torch.stack(_butterfly(*bands.chunk(4, 1)), 2)
    return F.pixel_shuffle(pixels.flatten(1, 2), 2)


def _butterfly(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tuple[Tensor, ...]:
    """The rows of :data:`_SIGNS` applied in eight additions."""
    s, t, u, v = a + b, c + d, a - b, c - d
    return s + t, s - t, u + v, u - v
