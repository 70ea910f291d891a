"""What torch lets any pickle call, without a bound on its result: made harmless while one is read.

``_codecs.encode(_codecs.encode(..., 'hex'), 'hex')`` doubles with each byte or two of a file.
numpy pickles its bytes as text in Latin-1, and needs no other encoding.
"""

import contextlib
import pickle
from typing import Any, Dict, Iterator

try:  # torch has no public way to take something back that it allows
    from torch._weights_only_unpickler import _get_allowed_globals as _allowed_by_torch
except ImportError:
    _allowed_by_torch = dict

_NAME = '_codecs.encode'


def encode(text: Any, encoding: Any = 'utf-8', errors: Any = 'strict') -> bytes:
    """Do what ``_codecs.encode`` does, from text to Latin-1 alone."""
    if not isinstance(text, str) or encoding not in ('latin1', 'latin-1'):
        raise pickle.UnpicklingError(f'GLOBAL _codecs.encode to {encoding!r} was refused')
    return text.encode('latin1', 'strict')


# The unpickler looks functions up under the names that they carry.
encode.__module__ = '_codecs'
encode.__qualname__ = 'encode'


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Have torch's unpickler call :func:`encode` in place of the one that knows all encodings."""
    table: Dict[str, Any] = _allowed_by_torch()
    before = table.get(_NAME)
    if before is None:  # torch before 2.5 allows none
        yield
        return
    table[_NAME] = encode
    try:
        yield
    finally:
        table[_NAME] = before
