"""What a conversion comes to: the tensors under their new keys, and an account of every key."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from torch import Tensor

from ..weights import safetensors_file
from .recognition import CLASSIFICATION, Backbone

SUFFIXES = ('.pth', '.pt', safetensors_file.SUFFIX)


@dataclass(frozen=True)
class KeyFate:
    """What became of one key of a file."""

    source: str
    #: The key in the output, ``None`` if it was dropped.
    target: Optional[str]
    #: Why it was dropped, or shape and type.
    note: str

    @property
    def verb(self) -> str:
        if self.target is None:
            return 'dropped'
        return 'kept' if self.target == self.source else 'renamed'

    def __str__(self) -> str:
        arrow = f' -> {self.target}' if self.verb == 'renamed' else ''
        return f'{self.verb:8}{self.source}{arrow}  ({self.note})'


@dataclass
class Conversion:
    """A state dict in the layout asked for, and how it came about.

    Attributes:
        backbone: Class of the backbone.
        arch: Architecture, ``'custom'`` if keys were renamed without looking at shapes.
        task: Of :data:`~.recognition.TASKS`.
        source_layout: Layout found, of :data:`~.recognition.LAYOUTS`.
        target_layout: Layout of ``state``.
        fates: Every key of the file, in its order.
        state: The tensors.
        absent: Keys of the backbone that the file need not and does not hold.
        added: Keys of ``state`` that hold constants of the release, which no file of
            this project has.
        meta: What goes beside the tensors, plain values.
    """

    backbone: Backbone
    arch: str
    task: str
    source_layout: str
    target_layout: str
    fates: List[KeyFate] = field(default_factory=list)
    state: Dict[str, Tensor] = field(default_factory=dict)
    absent: List[str] = field(default_factory=list)
    added: List[str] = field(default_factory=list)
    meta: Dict[str, Any] = field(default_factory=dict)

    def account(self) -> str:
        """Every key in a line of its own."""
        lines = [str(fate) for fate in self.fates]
        lines += [f'absent  {key}  (not in the file, and not needed)' for key in self.absent]
        lines += [f'added   {key}  (constant of the release)' for key in self.added]
        return '\n'.join(lines)

    def summary(self) -> str:
        """Counts in one line."""
        verbs = [fate.verb for fate in self.fates]
        counts = [f'{verbs.count(verb)} {verb}' for verb in ('renamed', 'kept', 'dropped')]
        return (
            f'{self.backbone.title(self.arch)}, {self.task}, from the {self.source_layout} to the '
            f'{self.target_layout} layout: {len(self.fates)} entries, {", ".join(counts)}'
        )


def save(conversion: Conversion, path: Path) -> None:
    """Write the output in the format that one of :data:`SUFFIXES` chooses.

    A file that is there is replaced once the new one is whole.
    """
    partial = path.with_name(f'.{path.name}.partial')
    try:
        if path.suffix == safetensors_file.SUFFIX:
            safetensors_file.write(partial, conversion.state, conversion.meta)
        else:
            form = (conversion.task, conversion.target_layout)
            wrapper = 'model' if form == (CLASSIFICATION, 'released') else 'state_dict'
            torch.save({'meta': conversion.meta, wrapper: conversion.state}, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
