"""Checks of what was read: sizes that a file cannot hold, and weights that are no numbers.

A file of a few bytes can claim a tensor of many gigabytes: by a compressed record, or by
a shape whose strides are 0, so that all its elements are one number. Nothing happens
while it is read; the memory runs out later, where the tensor is copied. So sizes are
compared with that of the file at once.
"""

import zipfile
from pathlib import Path
from typing import Any, Iterator, List, Tuple

from torch import Tensor

# torch stores an expanded tensor as its one number, which is no attack: a claim of up to this
# many bytes more than the file has is let through.
_HARMLESS_BYTES = 2**26


class ImpossibleSizeError(ValueError):
    """A file claims more than it can hold; the message names the record or the tensor."""


def check_archive(file: Path) -> None:
    """Refuse zip archives whose records are larger than the file; torch compresses none."""
    if not zipfile.is_zipfile(file):
        return
    size = file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        for record in archive.infolist():
            if record.file_size > max(size, record.compress_size):
                raise ImpossibleSizeError(
                    f'its record {record.filename} unpacks to {record.file_size:,} bytes, more '
                    f'than the {size:,} of the file'
                )


def check_sizes(content: Any, size: int) -> None:
    """Refuse tensors that are far larger than their file of ``size`` bytes."""
    for key, tensor in tensors_in(content):
        claimed = tensor.numel() * tensor.element_size()
        if claimed > size + _HARMLESS_BYTES:
            raise ImpossibleSizeError(
                f'its tensor {key} claims the shape {tuple(tensor.shape)}, {claimed:,} bytes, in a '
                f'file of {size:,}'
            )


def not_finite(content: Any) -> List[str]:
    """Names of the tensors that hold NaN or infinity."""
    floats = ((key, tensor) for key, tensor in tensors_in(content) if tensor.is_floating_point())
    return [key for key, tensor in floats if not tensor.isfinite().all()]


def tensors_in(content: Any) -> Iterator[Tuple[str, Tensor]]:
    """Tensors in nested mappings and sequences, with their paths; no object is visited twice."""
    pending: List[Tuple[str, Any]] = [('', content)]
    seen = set()
    while pending:  # not recursive: a file may be nested to any depth, or hold itself
        path, value = pending.pop()
        if isinstance(value, Tensor):
            yield path or 'the only one', value
            continue
        if isinstance(value, dict):
            items = list(value.items())
        elif isinstance(value, (list, tuple)):
            items = list(enumerate(value))
        else:
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        start = '' if path in ('', 'state_dict', 'model') else f'{path}.'
        pending += [(f'{start}{key}', item) for key, item in reversed(items)]
