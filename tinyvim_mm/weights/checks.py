"""Checks of what was read: sizes that a file cannot hold, and weights that are no numbers.

A file of a few bytes can claim a tensor of many gigabytes: by a compressed record, or by
a shape whose strides are 0, so that all its elements are one number. Nothing happens
while it is read; the memory runs out later, where the tensor is copied. So sizes are
compared with that of the file at once.
"""

import contextlib
import zipfile
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import torch
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
        records = archive.infolist()
    for record in records:
        if record.file_size > max(size, record.compress_size):
            raise ImpossibleSizeError(
                f'its record {record.filename} unpacks to {record.file_size:,} bytes, more '
                f'than the {size:,} of the file'
            )
    total = sum(record.file_size for record in records)
    if total > size:  # several share their bytes
        raise ImpossibleSizeError(
            f'its {len(records):,} records unpack to {total:,} bytes, more than the {size:,} of '
            'the file'
        )


def check_sizes(content: Any, size: int) -> None:
    """Refuse tensors that are together far larger than their file of ``size`` bytes.

    Memory that several of them share counts once. What counts beside it are tensors that
    become larger when they are copied, because they show the same number several times.
    """
    total, seen = 0, set()
    for key, tensor in tensors_in(content):
        if tensor.is_meta:
            raise ValueError(f'its tensor {key} has a shape, and no values')
        claimed = tensor.numel() * tensor.element_size()
        place, held = _memory(tensor)
        view = (place, claimed, *_layout(tensor))
        if place not in seen:
            total += held
        if view not in seen:
            total += max(claimed - held, 0)
        seen.update((place, view))
        if claimed > size + _HARMLESS_BYTES:
            raise ImpossibleSizeError(
                f'its tensor {key} claims the shape {tuple(tensor.shape)}, {claimed:,} bytes, in a '
                f'file of {size:,}'
            )
        if total > size + _HARMLESS_BYTES:
            raise ImpossibleSizeError(
                f'its tensors up to {key} claim {total:,} bytes together, in a file of {size:,}'
            )


def _memory(tensor: Tensor) -> Tuple[int, int]:
    """What tells a tensor's memory from that of others, and its size in bytes."""
    try:
        storage = tensor.untyped_storage()
    except RuntimeError:  # of sparse tensors
        return id(tensor), 0
    return storage._cdata, storage.nbytes()


def _layout(tensor: Tensor) -> tuple:
    try:
        return tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
    except RuntimeError:  # of sparse and nested tensors
        return ()


def not_finite(content: Any) -> List[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [key for key, tensor in tensors_in(content) if not _finite(tensor)]


def _finite(tensor: Tensor) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    for plain in (Tensor.isfinite, lambda t: t.float().isfinite(), lambda t: t.to_dense()):
        # torch cannot tell of some types of 8 bits, nor of sparse tensors.
        with contextlib.suppress(RuntimeError):
            found = plain(tensor)
            return bool((found if found.dtype == torch.bool else found.isfinite()).all())
    return True  # numbers of 4 bits, which have no NaN; layouts that hold no weights


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
