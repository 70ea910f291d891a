"""Weights as ``.safetensors``, a format that holds no code; its library is optional."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping

import torch
from torch import Tensor

from ..core.environment import MissingPackageError
from . import packing

SUFFIX = '.safetensors'

# The format sorts tensors; under this name their order is kept beside them.
_ORDER = 'key_order'


class MissingError(MissingPackageError):
    """The ``safetensors`` library is not installed."""


def require() -> None:
    """Raise a MissingError, which holds the cure, unless the library is there."""
    try:
        import safetensors.torch  # noqa: F401
    except ImportError as error:
        raise MissingError(
            f'{SUFFIX} files need the safetensors library: pip install safetensors, or use a '
            '.pth file'
        ) from error


def read(path: Path, map_location: Any = 'cpu') -> Dict[str, Any]:
    """Read a file as a checkpoint ``{'state_dict': ..., 'meta': ...}``.

    Anything but a device that :func:`torch.load` takes as ``map_location`` means the CPU.

    Raises:
        ValueError: The file is damaged.
    """
    require()
    from safetensors import SafetensorError, safe_open

    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    try:
        with safe_open(str(path), framework='pt', device=str(device)) as file:
            texts = dict(file.metadata() or {})
            order: List[str] = json.loads(texts.pop(_ORDER, '[]'))
            names = list(file.keys())
            # A text of the file, which may hold anything.
            known = isinstance(order, list) and all(isinstance(name, str) for name in order)
            if not known or sorted(order) != sorted(names):  # written by another program
                order = names
            state = {name: file.get_tensor(name) for name in order}
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    texts.pop('format', None)
    return {'state_dict': state, 'meta': {key: _decode(text) for key, text in texts.items()}}


def unpacked(content: Dict[str, Any]) -> Dict[str, Any]:
    """Give the packed tensors of what :func:`read` returned back in float32, see :mod:`.packing`.

    Raises:
        ValueError: The file is damaged, or packed in another way.
    """
    meta = dict(content['meta'])
    how = meta.pop(packing.NOTE, None)
    if how is None:
        return content
    if how != packing.INT8_ROWS:
        raise ValueError(f'it is packed as {how!r:.60}, which this version does not know')
    return {'state_dict': packing.unpack(content['state_dict']), 'meta': meta}


def write(
    path: Path, state: Mapping[str, Tensor], meta: Mapping[str, Any], packed: bool = False
) -> None:
    """Write tensors, none of them sharing memory, and texts and what JSON can hold.

    ``packed`` rounds them to a quarter of their size, see :mod:`.packing`.
    """
    require()
    from safetensors.torch import save_file

    if packed:
        state, meta = packing.pack(state), {**meta, packing.NOTE: packing.INT8_ROWS}
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in meta.items()}
    texts.update({_ORDER: json.dumps(list(state)), 'format': 'pt'})
    save_file({key: value.contiguous() for key, value in state.items()}, str(path), texts)
    os.umask(mask := os.umask(0))
    path.chmod(0o666 & ~mask)  # the library lets nobody else read it


def _decode(text: str) -> Any:
    with contextlib.suppress(ValueError):
        return json.loads(text) if text[:1] in ('{', '[') else text
    return text
