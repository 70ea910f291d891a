"""Safe reading of checkpoint files.

No code from a file is executed, unless the caller says that the file is trusted.
mmengine's own loader does not promise that: some of its versions fall back to full
unpickling. Hence :func:`install_safe_loader`.
"""

import argparse
import contextlib
import difflib
import logging
import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Optional, Union
from unittest import mock

import torch
from mmengine.logging import print_log

from ..core.environment import with_hint
from ..core.errors import CheckpointError
from . import addresses, checks, hub, pickled_calls, safetensors_file
from .keys import some, unwrap

try:
    from mmengine.runner import checkpoint as _runner_checkpoint

    CheckpointLoader = _runner_checkpoint.CheckpointLoader
except ModuleNotFoundError as error:
    # mmengine's runner needs OpenCV, the networks do not.
    if error.name != 'cv2':
        raise
    CheckpointLoader = None

_FORCE_SAFE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_ASKS_TO_RUN_CODE = re.compile(r'GLOBAL|Unsupported (class|global)|add_safe_globals')
_DAMAGED = '{path} is damaged or no PyTorch checkpoint ({why}); copy or download it again'
_NEEDS_OPENCV = 'Its runner needs OpenCV: pip install opencv-python-headless'


class Checkpoint(dict):
    """What a file holds; it remembers the file, and whether NaN was searched for."""

    #: Weights that are NaN or infinite; ``None`` before anybody has looked.
    not_finite: Optional[List[str]] = None

    def __init__(self, content: Mapping[str, Any], origin: str) -> None:
        super().__init__(content)
        self.origin = origin
        if hasattr(content, '_metadata'):  # of a bare state dict
            self._metadata = content._metadata

    def __reduce__(self) -> tuple:
        # Saved again, it is plain, and readable without this class.
        return OrderedDict, (), None, None, iter(self.items())


def load_file(
    path: str, map_location: Any = 'cpu', trust: bool = False, finite: bool = True
) -> Union[Checkpoint, Any]:
    """Read a checkpoint without executing code from it.

    Args:
        path: A local file, also as ``file:///...``; ``hf://owner/repository/file[@revision]``;
            ``http://...`` or ``https://...``, if that is allowed, see :mod:`.downloads`;
            or ``s3://...``, as mmengine is set up for it.
        map_location: See :func:`torch.load`.
        trust: Unpickle everything, which lets the file run any code. Only for
            files whose origin is trusted.
        finite: Refuse weights that are NaN or infinite, see
            :func:`refuse_not_finite`; without it they are logged as a warning.

    Returns:
        A :class:`Checkpoint`, unless the file holds no mapping.

    Raises:
        FileNotFoundError: No such file.
        CheckpointError: It is damaged, would need ``trust``, claims tensors larger than it
            can hold, has values that it should not have, or cannot be fetched.
    """
    if trust:
        addresses.refuse_trust_in_the_wire(path)
    if path.startswith(addresses.NAMED):
        content = _read_named(path, map_location, trust)
    else:
        with addresses.opened(path) as file:
            content = _read_file(file, path, map_location, trust)
    if isinstance(content, Mapping):
        content = Checkpoint(content, path)
    if finite:
        refuse_not_finite(content, path)
    elif problem := _not_finite(content, path):
        print_log(problem, logger='current', level=logging.WARNING)
    return content


def _read_named(name: str, map_location: Any, trust: bool) -> Any:
    """Read what mmengine has a name for; what it fetches comes through :func:`load_file`."""
    if CheckpointLoader is None:
        problem = f'{name}: such names are known to mmengine. {_NEEDS_OPENCV}'
        raise CheckpointError(with_hint(f'{problem}, or name a local file'))
    addresses.check(name)

    def fetch(address: str, map_location: Any = None, **_: Any) -> Any:
        return load_file(address, map_location, trust, finite=False)

    load = CheckpointLoader._get_checkpoint_loader(name)
    with _weights_only(forced=not trust), mock.patch.dict(load.__globals__, load_from_http=fetch):
        try:
            return dict(load(name, map_location))
        except KeyError as error:
            raise CheckpointError(f'{name}: mmengine knows no such name') from error


def _read_file(file: Path, origin: str, map_location: Any, trust: bool) -> Any:
    if not file.is_file():
        raise FileNotFoundError(_not_found(file))

    def read() -> Any:
        checks.check_archive(file)
        # What comes from remote storage lies in a file without a suffix.
        plain = safetensors_file.SUFFIX in (file.suffix, Path(origin).suffix)
        if plain:
            content = safetensors_file.read(file, map_location)
        else:
            with _weights_only(forced=False) if trust else training_state_allowed():
                content = torch.load(file, map_location=map_location, weights_only=not trust)
        checks.check_sizes(content, file.stat().st_size)
        return safetensors_file.unpacked(content) if plain else content

    return _read(origin if addresses.is_remote(origin) else str(file), read, trust)


def refuse_not_finite(content: Any, origin: str) -> None:
    """Raise if weights are NaN or infinite; those of a :class:`Checkpoint` are searched once.

    A training that starts from such weights is lost from its first step on, and
    an evaluation of them says nothing. The CheckpointError says ``origin`` and the tensors.
    """
    problem = _not_finite(content, origin)
    if problem:
        raise CheckpointError(
            f'{problem} Take an earlier checkpoint of that run (tools/train.py --detect-anomaly '
            'names the layer in which such values arise), or copy or download the file again'
        )


def _not_finite(content: Any, origin: str) -> str:
    keys = getattr(content, 'not_finite', None)
    if keys is None:
        keys = checks.not_finite(unwrap(content)[0])
        if isinstance(content, Checkpoint):
            content.not_finite = keys
    if not keys:
        return ''
    return (
        f'{origin}: {len(keys)} tensors hold NaN or infinity: {some(keys)}. The run that wrote '
        'it had diverged, or the file is damaged; what is computed with it is worthless.'
    )


def install_safe_loader(trust: bool = False) -> None:
    """Make mmengine read checkpoints through :func:`load_file` in this process.

    Covers ``load_from``, ``resume``, test checkpoints and the ``init_cfg`` of all parts of a
    model, addresses too; torch itself is told to refuse pickled code. Without OpenCV mmengine
    has no runner, and this raises a CheckpointError.
    """
    if CheckpointLoader is None:
        raise CheckpointError(with_hint(f'mmengine can read no checkpoints. {_NEEDS_OPENCV}'))

    def load_from_local(filename: str, map_location: Any = None) -> Any:
        return load_file(filename, map_location, trust)

    for scheme in (*CheckpointLoader._schemes, hub.SCHEME):
        if scheme not in addresses.NAMED:  # which load_file passes back to mmengine
            CheckpointLoader.register_scheme(scheme, load_from_local, force=True)
    _runner_checkpoint.load_from_http = load_from_local
    if trust:
        os.environ.pop(_FORCE_SAFE, None)
    else:
        os.environ[_FORCE_SAFE] = '1'


def load_from_hub(filename: str, map_location: Any = None) -> Any:
    """:func:`load_file`, under a name that mmengine can take apart for its log."""
    return load_file(filename, map_location)


# For the parts of a model that mmengine initializes, in processes without the tools too.
if CheckpointLoader is not None:
    CheckpointLoader.register_scheme(hub.SCHEME, load_from_hub, force=True)


def _read(path: str, read: Callable[[], Any], trust: bool) -> Any:
    try:
        return read()
    except safetensors_file.MissingError as error:
        raise CheckpointError(f'{path}: {error}') from error
    except pickle.UnpicklingError as error:
        if trust or not _ASKS_TO_RUN_CODE.search(str(error)):
            raise CheckpointError(_DAMAGED.format(path=path, why='not readable')) from error
        name = re.search(r'(?:GLOBAL|Unsupported class) ([\w.]+)', str(error))
        raise CheckpointError(
            f'{path} holds a pickled object ({name.group(1) if name else "unknown"}) that could '
            'execute code when it is loaded, so it was refused. If you trust where the file comes '
            'from, pass --trust-checkpoint to the tool, or save its plain tensors anew with '
            'torch.save(torch.load(path, weights_only=False)["state_dict"], new_path)'
        ) from error
    except checks.ImpossibleSizeError as error:
        raise CheckpointError(
            f'{path} was refused: {error}. It is damaged, or made to exhaust the memory'
        ) from error
    except OSError:
        raise
    except EOFError as error:
        raise CheckpointError(_DAMAGED.format(path=path, why='the file ends early')) from error
    except Exception as error:
        # Bytes from elsewhere can raise anything inside the readers: AttributeError,
        # IndexError, MemoryError, RecursionError, ...
        why = (str(error).splitlines() or [''])[0] or type(error).__name__
        raise CheckpointError(_DAMAGED.format(path=path, why=why)) from error


@contextlib.contextmanager
def _weights_only(forced: bool) -> Iterator[None]:
    """Have torch refuse pickled code whatever its caller asks for, or let the caller decide."""
    before = os.environ.pop(_FORCE_SAFE, None)
    if forced:
        os.environ[_FORCE_SAFE] = '1'
    try:
        yield
    finally:
        os.environ.pop(_FORCE_SAFE, None)
        if before is not None:
            os.environ[_FORCE_SAFE] = before


@contextlib.contextmanager
def training_state_allowed() -> Iterator[None]:
    """Let ``torch.load(..., weights_only=True)`` read what mmengine stores beside weights.

    That is of harmless types: log history, seeds, arguments. torch before 2.4 cannot be told.
    """
    serialization = torch.serialization
    with contextlib.ExitStack() as stack:
        stack.enter_context(pickled_calls.bounded())
        if hasattr(serialization, 'safe_globals'):  # torch 2.5
            stack.enter_context(serialization.safe_globals(_training_state_types()))
        elif hasattr(serialization, 'add_safe_globals'):  # torch 2.4 has no way back
            serialization.add_safe_globals(_training_state_types())
        yield


def _training_state_types() -> List[Any]:
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer

    def getattr_of_history(owner: Any, name: str) -> Any:
        # A pickled HistoryBuffer refers to its own methods through getattr.
        if owner is HistoryBuffer and isinstance(name, str) and not name.startswith('_'):
            return getattr(owner, name)
        raise pickle.UnpicklingError(f'GLOBAL getattr of {name} was refused')

    # The unpickler looks types up under the names that they carry.
    getattr_of_history.__module__ = 'builtins'
    getattr_of_history.__name__ = getattr_of_history.__qualname__ = 'getattr'

    # numpy 1.26 has a `_core`, too, for files of numpy 2, with nothing in it.
    core = np.core if np.__version__.startswith('1.') else np._core
    dtypes = [type(np.dtype(kind)) for kind in pickled_calls.DTYPES]
    return [
        *(HistoryBuffer, getattr_of_history, argparse.Namespace, core.multiarray.scalar, *dtypes),
        *pickled_calls.arrays(core.multiarray._reconstruct.__module__),
        pickled_calls.encode,  # bytes of arrays, in a pickle
    ]


def _not_found(file: Path) -> str:
    if file.is_dir():
        return f'checkpoint {file} is a folder, not a file'
    message = f'checkpoint {file} does not exist (looked from {Path.cwd()})'
    if file.parent.is_dir():
        near = difflib.get_close_matches(file.name, os.listdir(file.parent), n=3)
        if near:
            return f'{message}; similar files there: {", ".join(near)}'
    return message
