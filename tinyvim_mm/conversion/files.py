"""Conversion from file to file."""

import os
from pathlib import Path
from typing import Any

import torch

from ..weights import safetensors_file
from ..weights.files import file_sha256, load_file
from .layouts import convert
from .recognition import CLASSIFICATION
from .result import Conversion

SUFFIXES = ('.pth', '.pt', safetensors_file.SUFFIX)


def convert_file(path: Path, trust: bool = False, **arguments: Any) -> Conversion:
    """Read a file and convert it; name and SHA-256 of the file go into ``meta``.

    Args:
        path: A local file.
        trust: See :func:`~tinyvim_mm.weights.files.load_file`.
        **arguments: See :func:`~.layouts.convert`.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: See :func:`~.layouts.convert`.
    """
    file = load_file(str(path), trust=trust, finite=False)
    conversion = convert(file, str(path), **arguments)
    conversion.meta.update(source=path.name, source_sha256=file_sha256(path))
    return conversion


def save(conversion: Conversion, path: Path) -> None:
    """Write the output; a file that is there is replaced once the new one is whole.

    Args:
        conversion: What :func:`~.layouts.convert` returned.
        path: File with one of :data:`SUFFIXES`, which chooses the format.
    """
    partial = path.with_name(f'.{path.name}.partial')
    try:
        if path.suffix == safetensors_file.SUFFIX:
            safetensors_file.write(partial, conversion.state, conversion.meta)
        else:
            released_classifier = (conversion.task, conversion.target_layout) == (
                CLASSIFICATION,
                'released',
            )
            wrapper = 'model' if released_classifier else 'state_dict'
            torch.save({'meta': conversion.meta, wrapper: conversion.state}, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
