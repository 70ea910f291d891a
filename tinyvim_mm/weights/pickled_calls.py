"""What torch lets any pickle call, without a bound on its result: made harmless while one is read.

``_codecs.encode(_codecs.encode(..., 'hex'), 'hex')`` doubles with each byte or two of a file.
numpy pickles its bytes as text in Latin-1, and needs no other encoding. ``bytearray(10**12)`` is
of any size at once, and pickles of tensors have no use for it.
"""

import contextlib
import pickle
from typing import Any, Dict, Iterator

from .checks import ImpossibleSizeError

try:  # torch has no public way to take something back that it allows
    from torch._weights_only_unpickler import _get_allowed_globals as _allowed_by_torch
except ImportError:
    _allowed_by_torch = dict


def encode(text: Any, encoding: Any = 'utf-8', errors: Any = 'strict') -> bytes:
    """Do what ``_codecs.encode`` does, from text to Latin-1 alone."""
    if not isinstance(text, str) or encoding not in ('latin1', 'latin-1'):
        raise pickle.UnpicklingError(f'GLOBAL _codecs.encode to {encoding!r} was refused')
    return text.encode('latin1', 'strict')


# The unpickler looks functions up under the names that they carry.
encode.__module__ = '_codecs'
encode.__qualname__ = 'encode'


def no_bytearray(*_: Any) -> None:
    """Refuse what ``bytearray`` would make."""
    raise ImpossibleSizeError('it makes a bytearray, which may be of any size')


_BOUNDED = {'_codecs.encode': encode, 'builtins.bytearray': no_bytearray}


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Have torch's unpickler call the functions here in place of those that know no bound."""
    table: Dict[str, Any] = _allowed_by_torch()
    before = {name: table[name] for name in _BOUNDED if name in table}  # all since torch 2.5
    table.update({name: _BOUNDED[name] for name in before})
    try:
        yield
    finally:
        table.update(before)
