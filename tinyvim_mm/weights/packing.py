"""Weights in a quarter of their size, to be shipped: 8 bits a number, and a scale for each row.

A tensor of at least :data:`LEAST` numbers with two dimensions or more is divided into rows, one for
each output channel (of the stacked projections of a scan: one for each of their outputs), and each
row by a scale of its own, so that its largest number becomes 127. What is smaller stays as it is,
such as biases and the statistics of norms.
"""

from typing import Dict, Mapping

import torch
from torch import Tensor

#: A note beside the tensors of a file that are packed, and how.
NOTE, INT8_ROWS = 'packing', 'int8 rows'
#: Numbers in the smallest tensor that is packed.
LEAST = 1024

# Under a key and this lie the scales of its rows; no module can have such a name.
_SCALES = '#scales'


def pack(state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Round the large tensors of a state dict to 8 bits; :func:`unpack` is the way back.

    Args:
        state: Tensors of any type; only floating point ones are packed.

    Raises:
        ValueError: A tensor that is to be packed is not finite.
    """
    packed: Dict[str, Tensor] = {}
    for key, value in state.items():
        if not value.is_floating_point() or value.dim() < 2 or value.numel() < LEAST:
            packed[key] = value
            continue
        rows = _rows(value.float())
        scales = rows.abs().amax(1) / 127
        if not scales.isfinite().all():
            raise ValueError(f'{key} is not finite')
        # A row of zeros stays one with any scale.
        scales[scales == 0] = 1.0
        packed[key] = (rows / scales[:, None]).round().to(torch.int8).view(value.shape)
        packed[f'{key}{_SCALES}'] = scales
    return packed


def unpack(state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Give the tensors of :func:`pack` back, in float32.

    Raises:
        ValueError: Scales do not fit their tensor.
    """
    unpacked: Dict[str, Tensor] = {}
    for key, value in state.items():
        if key.endswith(_SCALES):
            continue
        scales = state.get(f'{key}{_SCALES}')
        if scales is None:
            unpacked[key] = value
            continue
        if value.dtype != torch.int8 or value.dim() < 2:
            raise ValueError(f'{key} has scales, and is no packed tensor')
        rows = _rows(value)
        if scales.shape != rows.shape[:1] or scales.dtype != torch.float32:
            raise ValueError(f'{key} has {len(rows)} rows, and scales of {tuple(scales.shape)}')
        unpacked[key] = (rows.float() * scales[:, None]).view(value.shape)
    alone = [key for key in state if key.endswith(_SCALES) and key[: -len(_SCALES)] not in state]
    if alone:
        raise ValueError(f'{alone[0]} belongs to no tensor')
    return unpacked


def _rows(value: Tensor) -> Tensor:
    """A tensor as a matrix with a row for each output."""
    rows = value.shape[0] * (value.shape[1] if value.dim() == 3 else 1)
    return value.reshape(rows, -1)
