"""Errors that arise while something is built from a config: of what the user wrote there."""

import contextlib
import difflib
import re
import textwrap
import traceback
from types import FrameType
from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple

from ..core.errors import UsageError

if TYPE_CHECKING:
    from mmengine.config import Config

#: Which part of a config a method of mmengine's Runner is for.
_METHODS = {
    'build_model': 'model',
    'wrap_model': 'model_wrapper_cfg',
    'build_visualizer': 'visualizer',
    'build_log_processor': 'log_processor',
    'build_logger': 'log_level',
    'build_train_loop': 'train_cfg',
    'build_val_loop': 'val_cfg',
    'build_test_loop': 'test_cfg',
    'build_optim_wrapper': 'optim_wrapper',
    'build_param_scheduler': 'param_scheduler',
    '_build_param_scheduler': 'param_scheduler',
    '_init_model_weights': 'model',
    'scale_lr': 'auto_scale_lr',
    'set_randomness': 'randomness',
    'setup_env': 'env_cfg',
    'register_default_hooks': 'default_hooks',
    'register_custom_hooks': 'custom_hooks',
    '_maybe_compile': 'compile',
}
#: Where mmengine looks the types of a config up.
_REGISTRYS = (
    'mmengine.registry.build_functions',
    'mmengine.optim.optimizer.default_constructor',
)
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_LONGEST = 400


@contextlib.contextmanager
def building(cfg: 'Config', name: str, running: bool = False) -> Iterator[None]:
    """Turn any error inside into one of the config, which names the part that is wrong.

    Args:
        cfg: What things are built from.
        name: What the user called it.
        running: What is built also runs inside, as mmengine builds loops and loaders when a
            training begins. Only errors from below mmengine's building functions are meant then.

    Raises:
        UsageError: In place of the error, which is its cause. Errors that have an exit code,
            and so tell the user what to do, pass.
    """
    try:
        yield
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        if hasattr(error, 'exit_code') or (running and not any(map(_builds, frames))):
            raise
        part = _part(cfg, frames, error)
        where = f'{part} of {name}' if part else name
        raise UsageError(f'{where} cannot be built: {_reason(error, frames)}') from error


def describe(error: BaseException) -> str:
    """An error of another package, in at most a few lines."""
    text = str(error).strip()
    if not text:  # of an assertion the line says more
        last = traceback.extract_tb(error.__traceback__)
        text = (last[-1].line or '') if last else ''
    lines = [textwrap.shorten(line, _LONGEST, placeholder=' ...') for line in text.splitlines()]
    return '\n'.join([f'{type(error).__name__}: {lines[0] if lines else ""}', *lines[1:8]])


def nearest(word: str, known: Any, cutoff: float = 0.6) -> str:
    """``; did you mean ...?``, or nothing; ``cutoff`` is difflib's."""
    words = difflib.get_close_matches(word, sorted(map(str, known)), n=3, cutoff=cutoff)
    return f'; did you mean {" or ".join(words)}?' if words else ''


def _builds(frame: FrameType) -> bool:
    module = frame.f_globals.get('__name__', '')
    function = frame.f_code.co_name
    if _is_registrys(frame):
        return True
    if not module.startswith(('mmengine.runner', 'mmengine._strategy')):
        return False
    return function in _METHODS or function.startswith(('build_', 'from_cfg', '__init__'))


def _is_registrys(frame: FrameType) -> bool:
    return frame.f_globals.get('__name__') in _REGISTRYS


def _given(frame: FrameType) -> Any:
    """The part of a config that such a function builds from."""
    return frame.f_locals.get('cfg', frame.f_locals.get('optimizer_cfg'))


def _part(cfg: 'Config', frames: List[FrameType], error: Exception) -> str:
    """The dotted key of what was being built, as far as it can be told; else an empty string."""
    root = _plain(cfg)
    path, node = '', root
    for frame in filter(_builds, frames):
        function, values = frame.f_code.co_name, frame.f_locals
        if function == 'build_dataloader':
            wanted = values.get('dataloader')
            path = next((key for key in _LOADERS if _plain(root.get(key)) == wanted), path)
            node = root.get(path, node)
        elif function in _METHODS and not path:
            path = _METHODS[function]
            node = root.get(path)
        elif _is_registrys(frame):
            inside = _find(node, _given(frame))
            if inside is not None:
                path, node = '.'.join(filter(None, (path, inside[0]))), inside[1]
    if not path:  # the method that does not take an argument was not entered
        called = re.search(r'(\w+)\(\) ', str(error))
        path = _METHODS.get(called[1], '') if called else ''
    return path


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, 'to_dict') else value


def _find(node: Any, wanted: Any) -> Optional[Tuple[str, Any]]:
    """Where below ``node`` a part is, and the part: the same, or else one of its type."""
    wanted = _plain(wanted)
    if not isinstance(wanted, dict):
        return None
    parts = list(below(node, ''))
    for path, part in parts:
        if part == wanted:
            return path, part
    # What is around it has filled in some of its settings.
    for path, part in parts:
        if 'type' in wanted and part.get('type') == wanted['type']:
            return path, part
    return None


def below(node: Any, path: str) -> Iterator[Tuple[str, dict]]:
    """All dicts in a config, the outer ones first."""
    if isinstance(node, dict):
        yield path, node
        items: Any = node.items()
    else:
        items = enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in items:
        yield from below(value, f'{path}.{key}' if path else str(key))


def _reason(error: Exception, frames: List[FrameType]) -> str:
    calls = list(filter(_is_registrys, frames))
    registry = calls[-1].f_locals.get('registry') if calls else None
    cfg = _given(calls[-1]) if calls else None
    kind = cfg.get('type') if isinstance(cfg, dict) else None
    if isinstance(kind, str) and registry is not None and not _knows(registry, kind):
        known = {name for r in _family(registry) for name in r.module_dict}
        return f'there is no {registry.name} {kind!r}{nearest(kind, known)}'
    return describe(error)


def _knows(registry: Any, kind: str) -> bool:
    try:
        return registry.get(kind) is not None
    except RuntimeError:  # how some versions say no
        return False


def _family(registry: Any) -> Iterator[Any]:
    while registry is not None:
        yield registry
        registry = registry.parent
