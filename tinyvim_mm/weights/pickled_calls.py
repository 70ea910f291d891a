"""What torch lets any pickle call, without a bound on its result: made harmless while one is read.

``_codecs.encode(_codecs.encode(..., 'hex'), 'hex')`` doubles with each byte or two of a file.
numpy pickles its bytes as text in Latin-1, and needs no other encoding. ``bytearray(10**12)`` is
of any size at once, and pickles of tensors have no use for it. ``numpy.ndarray`` makes objects
of any bytes, ``ndarray((1,), 'O', b'8 bytes.')``, and whatever looks at one follows a pointer of
the file. Pickled arrays begin empty, of a type of numbers, and are filled by their state.
"""

import contextlib
import pickle
from typing import Any, Dict, Iterator, List

from .checks import ImpossibleSizeError

try:  # torch has no public way to take something back that it allows
    from torch._weights_only_unpickler import _get_allowed_globals as _allowed_by_torch
except ImportError:
    _allowed_by_torch = dict

#: Of the arrays that mmengine stores beside weights.
DTYPES = ('float64', 'float32', 'int64', 'uint32', 'bool')


def encode(text: Any, encoding: Any = 'utf-8', errors: Any = 'strict') -> bytes:
    """Do what ``_codecs.encode`` does, from text to Latin-1 alone."""
    if not isinstance(text, str) or encoding not in ('latin1', 'latin-1'):
        raise pickle.UnpicklingError(f'GLOBAL _codecs.encode to {encoding!r} was refused')
    return text.encode('latin1', 'strict')


class _ArrayType:
    """To the unpickler ``numpy.ndarray``, the type of what is filled; it makes no arrays."""

    def __eq__(self, other: object) -> bool:
        import numpy as np

        return other is self or other is np.ndarray

    def __hash__(self) -> int:
        return id(self)

    def __call__(self, *_: Any) -> None:
        raise pickle.UnpicklingError('GLOBAL numpy.ndarray was refused as a call')


def _dtype(name: Any, *_: Any) -> Any:
    """A type of numbers, a copy."""
    import numpy as np

    known = {np.dtype(kind).str[1:]: kind for kind in DTYPES}
    if not isinstance(name, str) or name not in known:
        raise pickle.UnpicklingError(f'GLOBAL numpy.dtype of {name!r:.80} was refused')
    return np.dtype(known[name], copy=True)


def _reconstruct(*_: Any) -> Any:
    """An array before it is filled."""
    import numpy as np

    return np.ndarray((0,), 'b')


def arrays(module: str) -> List[Any]:
    """What the unpickler needs for arrays of numbers; ``module`` is where numpy begins them."""
    return [
        _named(_ArrayType(), 'numpy', 'ndarray'),
        _named(_dtype, 'numpy', 'dtype'),
        _named(_reconstruct, module, '_reconstruct'),
    ]


def _named(stand_in: Any, module: str, name: str) -> Any:
    """Give something the name under which the unpickler looks it up."""
    stand_in.__module__, stand_in.__name__, stand_in.__qualname__ = module, name, name
    return stand_in


_named(encode, '_codecs', 'encode')


def no_bytearray(*_: Any) -> None:
    """Refuse what ``bytearray`` would make."""
    raise ImpossibleSizeError('it makes a bytearray, which may be of any size')


def tensor_of_array(data: Any, *settings: Any) -> Any:
    """Do what torch does, with memory of its own: a pickle can fill the array anew."""
    from torch._utils import _rebuild_device_tensor_from_numpy

    return _rebuild_device_tensor_from_numpy(data.copy(), *settings)


_BOUNDED = {
    '_codecs.encode': encode,
    'builtins.bytearray': no_bytearray,
    'torch._utils._rebuild_device_tensor_from_numpy': tensor_of_array,
}


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Have torch's unpickler call the functions here in place of those that know no bound."""
    table: Dict[str, Any] = _allowed_by_torch()
    before = {name: table[name] for name in _BOUNDED if name in table}
    table.update({name: _BOUNDED[name] for name in before})
    try:
        yield
    finally:
        table.update(before)
