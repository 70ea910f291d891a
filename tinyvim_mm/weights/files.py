"""Checkpoint files: safe reading, and an account of every key that is loaded.

Nothing here executes code from a file unless the caller says that the file is
trusted. mmengine's own loader does not keep that promise on every version (it
may fall back to full unpickling), hence :func:`install_safe_loader`.
"""

import _codecs
import argparse
import contextlib
import difflib
import hashlib
import logging
import os
import pickle
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..core.environment import with_hint
from ..core.errors import CheckpointError
from . import checks as checkpoint_checks
from . import hub, safetensors_file

try:
    from mmengine.runner.checkpoint import CheckpointLoader
except ModuleNotFoundError as error:
    # mmengine's runner needs OpenCV, the networks do not.
    if error.name != 'cv2':
        raise
    CheckpointLoader = None

#: Rewrites of released keys: (pattern, replacement) of :func:`re.sub`, all applied in turn.
KeyRules = Sequence[Tuple[str, Any]]

_FORCE_SAFE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_ASKS_TO_RUN_CODE = re.compile(r'GLOBAL|Unsupported (class|global)|add_safe_globals')
_DAMAGED = '{path} is damaged or no PyTorch checkpoint ({why}); copy or download it again'
_NEEDS_OPENCV = 'Its runner needs OpenCV: pip install opencv-python-headless'
_MAX_KEYS_SHOWN = 4


# ----------------------------------------------------------------------------
# Reading files
# ----------------------------------------------------------------------------


def load_file(
    path: str, map_location: Any = 'cpu', trust: bool = False, finite: bool = True
) -> Any:
    """Read a checkpoint without executing code from it.

    Args:
        path: A local file, ``hf://owner/repository/file[@revision]``, or an
            address with another scheme that mmengine knows (``http://``,
            ``s3://``, ...).
        map_location: See :func:`torch.load`.
        trust: Unpickle everything, which lets the file run any code. Only for
            files whose origin is trusted.
        finite: Refuse weights that are NaN or infinite, see
            :func:`refuse_not_finite`; without it they are logged as a warning.

    Raises:
        FileNotFoundError: No such file.
        CheckpointError: The file is damaged, would need ``trust``, claims tensors
            larger than it can hold, has values that it should not have, or cannot be
            fetched.
    """
    if path.startswith(hub.SCHEME):
        try:
            path = str(hub.fetch(path))
        except hub.HubError as error:
            raise CheckpointError(str(error)) from error
    if '://' in path:
        if CheckpointLoader is None:
            raise CheckpointError(
                with_hint(
                    f'{path}: addresses are fetched by mmengine. {_NEEDS_OPENCV}, '
                    'or name a local file'
                )
            )
        with _weights_only(forced=not trust):
            content = _read(
                path, lambda: CheckpointLoader.load_checkpoint(path, map_location), trust
            )
        _check_values(content, path, finite)
        return content
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(_not_found(file))

    def read() -> Any:
        checkpoint_checks.check_archive(file)
        content = read_unchecked()
        checkpoint_checks.check_sizes(content, file.stat().st_size)
        return content

    def read_unchecked() -> Any:
        if file.suffix == safetensors_file.SUFFIX:
            return safetensors_file.read(file, map_location)
        if trust:
            with _weights_only(forced=False):
                return torch.load(file, map_location=map_location, weights_only=False)
        with training_state_allowed():
            return torch.load(file, map_location=map_location, weights_only=True)

    content = _read(str(file), read, trust)
    _check_values(content, str(file), finite)
    return content


def refuse_not_finite(content: Any, origin: str) -> None:
    """Raise if tensors are NaN or infinite.

    A training that starts from such weights is lost from its first step on, and
    an evaluation of them says nothing.

    Args:
        content: What was read, or a state dict.
        origin: What to call it in the error.

    Raises:
        CheckpointError: It names the tensors.
    """
    problem = _not_finite(content, origin)
    if problem:
        raise CheckpointError(
            f'{problem} Take an earlier checkpoint of that run (tools/train.py --detect-anomaly '
            'names the layer in which such values arise), or copy or download the file again'
        )


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def install_safe_loader(trust: bool = False) -> None:
    """Make mmengine read local checkpoints through :func:`load_file` in this process.

    Covers ``load_from``, ``resume`` and test checkpoints; for remote schemes
    torch itself is told to refuse pickled code.

    Args:
        trust: Let checkpoints execute code, see :func:`load_file`.

    Raises:
        CheckpointError: mmengine's runner cannot be imported, for want of OpenCV.
    """
    if CheckpointLoader is None:
        raise CheckpointError(with_hint(f'mmengine can read no checkpoints. {_NEEDS_OPENCV}'))

    def load_from_local(filename: str, map_location: Any = None) -> Any:
        return load_file(filename, map_location, trust)

    for scheme in ('', hub.SCHEME):
        CheckpointLoader.register_scheme(scheme, load_from_local, force=True)
    if trust:
        os.environ.pop(_FORCE_SAFE, None)
    else:
        os.environ[_FORCE_SAFE] = '1'


def _load_from_hub(filename: str, map_location: Any = None) -> Any:
    return load_file(filename, map_location)


# For the parts of a model that mmengine initialises, in processes without the tools too.
if CheckpointLoader is not None:
    CheckpointLoader.register_scheme(hub.SCHEME, _load_from_hub, force=True)


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
    except checkpoint_checks.ImpossibleSizeError as error:
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


def _check_values(content: Any, path: str, finite: bool) -> None:
    weights = unwrap(content)[0]
    if finite:
        refuse_not_finite(weights, path)
        return
    problem = _not_finite(weights, path)
    if problem:
        print_log(problem, logger='current', level=logging.WARNING)


def _not_finite(content: Any, origin: str) -> str:
    keys = checkpoint_checks.not_finite(content)
    if not keys:
        return ''
    return (
        f'{origin}: {len(keys)} tensors hold NaN or infinity: {_some(keys)}. The run that wrote '
        'it had diverged, or the file is damaged; what is computed with it is worthless.'
    )


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
    if hasattr(serialization, 'safe_globals'):  # torch 2.5
        with serialization.safe_globals(_training_state_types()):
            yield
        return
    if hasattr(serialization, 'add_safe_globals'):  # torch 2.4 has no way back
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
    dtypes = [type(np.dtype(kind)) for kind in ('float64', 'float32', 'int64', 'uint32', 'bool')]
    arrays = [core.multiarray._reconstruct, core.multiarray.scalar, np.ndarray, np.dtype]
    # Bytes of arrays, in a pickle; torch allows it since 2.5.
    return [HistoryBuffer, getattr_of_history, argparse.Namespace, _codecs.encode, *arrays, *dtypes]


def _not_found(file: Path) -> str:
    if file.is_dir():
        return f'checkpoint {file} is a folder, not a file'
    message = f'checkpoint {file} does not exist (looked from {Path.cwd()})'
    if file.parent.is_dir():
        near = difflib.get_close_matches(file.name, os.listdir(file.parent), n=3)
        if near:
            return f'{message}; similar files there: {", ".join(near)}'
    return message


# ----------------------------------------------------------------------------
# From a file to the keys of a model
# ----------------------------------------------------------------------------


#: Where checkpoints keep their weights. Of the last weights (``net``) and their moving
#: average (``net_E``) in one file it is the average: that is what was evaluated.
WRAPPERS = ('state_dict', 'model', 'net_E', 'net')


def unwrap(checkpoint: Any) -> Tuple[Any, Dict[str, Any]]:
    """Split a checkpoint into its state dict and what else it holds.

    Args:
        checkpoint: ``{'state_dict': ...}``, or with another of :data:`WRAPPERS`, or
            the bare mapping.
    """
    if isinstance(checkpoint, Mapping):
        for wrapper in WRAPPERS:
            if isinstance(checkpoint.get(wrapper), Mapping):
                others = {key: v for key, v in checkpoint.items() if key != wrapper}
                return checkpoint[wrapper], others
    return checkpoint, {}


def extract_state_dict(checkpoint: Any, origin: str) -> Dict[str, Tensor]:
    """Find the tensors in a checkpoint and drop ``module.`` prefixes.

    Args:
        checkpoint: See :func:`unwrap`.
        origin: What to call it in an error.

    Raises:
        CheckpointError: It holds no mapping from names to tensors.
    """
    state, _ = unwrap(checkpoint)
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f'{origin} holds {type(checkpoint).__name__}, not a mapping from names to tensors'
        )
    tensors = {
        re.sub(r'^(module\.)+', '', key): value
        for key, value in state.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    if not tensors:
        keys = ', '.join(map(str, list(state)[:_MAX_KEYS_SHOWN]))
        raise CheckpointError(f'{origin} holds no tensors; its keys are: {keys or "none"}')
    return tensors


def literal_rules(pairs: Iterable[Tuple[str, str]]) -> KeyRules:
    """Rules that replace literal parts of keys.

    Args:
        pairs: (old part, new part). A ``^`` before both binds them to the start
            of the key. With the two swapped the rules undo each other, unless
            a new part also occurs in old keys.
    """
    return tuple(
        ('^' * old.startswith('^') + re.escape(old.removeprefix('^')), new.removeprefix('^'))
        for old, new in pairs
    )


def translate_key(key: str, rules: KeyRules) -> str:
    """Apply all rules to one key."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


@dataclass
class LoadReport:
    """What became of every key of a checkpoint and of a model.

    Attributes:
        used: Keys of the model that were filled from the file.
        aside: For each reason, keys of the file that were not used.
        fresh: Keys of the model that keep their initial values.
        mismatched: Key to (shape in the file, shape in the model).
        missing: Keys of the model that the file should have held.
        unknown: Keys of the file that mean nothing to the model.
    """

    used: List[str] = field(default_factory=list)
    aside: Dict[str, List[str]] = field(default_factory=lambda: defaultdict(list))
    fresh: List[str] = field(default_factory=list)
    mismatched: Dict[str, Tuple[tuple, tuple]] = field(default_factory=dict)
    missing: List[str] = field(default_factory=list)
    unknown: List[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        return not (self.mismatched or self.missing or self.unknown)

    def account(self) -> str:
        """All keys in a few lines."""
        lines = [f'{len(self.used)} tensors used']
        for reason, keys in self.aside.items():
            lines.append(f'{len(keys)} left aside, {reason}: {_some(keys)}')
        lines.append(f'{len(self.fresh)} fresh: {_some(self.fresh)}' if self.fresh else '0 fresh')
        return '; '.join(lines)

    def complaint(self) -> str:
        """What does not fit, in a few lines."""
        lines = []
        if self.mismatched:
            shown = [
                f'{key} is {there} in the file, {here} in the model'
                for key, (there, here) in list(self.mismatched.items())[:_MAX_KEYS_SHOWN]
            ]
            lines.append(f'{len(self.mismatched)} of another shape: {"; ".join(shown)}')
        if self.missing:
            lines.append(f'{len(self.missing)} missing in the file: {_some(self.missing)}')
        if self.unknown:
            lines.append(f'{len(self.unknown)} unknown to the model: {_some(self.unknown)}')
        return '\n'.join(f'  {line}' for line in lines)


def account_keys(
    model_state: Mapping[str, Tensor],
    file_state: Mapping[str, Tensor],
    aside: Iterable[Tuple[str, str]] = (),
    may_be_fresh: Sequence[str] = (),
) -> LoadReport:
    """Compare a model with a state dict that was translated to its keys.

    Args:
        model_state: The model's ``state_dict()``.
        file_state: What a file offers.
        aside: (pattern, reason) of keys that are knowingly not used.
        may_be_fresh: Patterns of the model's keys that a file need not hold.
    """
    report = LoadReport()
    for key, value in file_state.items():
        if key in model_state:
            if value.shape == model_state[key].shape:
                report.used.append(key)
            else:
                shapes = (tuple(value.shape), tuple(model_state[key].shape))
                report.mismatched[key] = shapes
            continue
        reason = next((why for pattern, why in aside if re.match(pattern, key)), None)
        if reason is None:
            report.unknown.append(key)
        else:
            report.aside[reason].append(key)
    for key in model_state:
        if key not in file_state:
            fresh = any(re.match(pattern, key) for pattern in may_be_fresh)
            (report.fresh if fresh else report.missing).append(key)
    return report


def _some(keys: Sequence[str]) -> str:
    more = len(keys) - _MAX_KEYS_SHOWN
    return ', '.join(keys[:_MAX_KEYS_SHOWN]) + (f' and {more} more' if more > 0 else '')
