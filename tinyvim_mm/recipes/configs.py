"""Find a config by path or name, and load it."""

import ast
import copy
import difflib
import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Set, Tuple

from ..core import environment
from ..core.environment import SCOPES
from ..core.errors import UsageError
from ..core.paths import CONFIG_ROOT, PROJECT_ROOT, shown
from .building import describe
from .known_keys import refuse_unknown_keys
from .model_folder import config_in
from .values import check_settings, refuse_infinite

if TYPE_CHECKING:
    from mmengine.config import Config


#: Folder of the configs that compare networks on small public datasets.
BENCHMARKS = CONFIG_ROOT / 'benchmarks'


def list_configs(benchmarks: bool = False) -> List[Path]:
    """All runnable configs of the project, sorted.

    Args:
        benchmarks: Also those that are no recipes, but compare networks and variants.
    """
    found = sorted(p for p in CONFIG_ROOT.rglob('*.py') if '_base_' not in p.parts)
    return [p for p in found if benchmarks or p.parent != BENCHMARKS]


# What mmengine's Config reads.
_SUFFIXES = ('.py', '.yml', '.yaml', '.json')


def find_config(name: str) -> Path:
    """Find the file of a config.

    Args:
        name: A path relative to the current folder or to the project, or the
            bare name of one of the project's configs, with or without ``.py``; a folder with
            a trained model, or the name of one of this package.

    Raises:
        UsageError: There is no such config, and the message names the nearest, or
            the file is none.
    """
    if own := config_in(name):
        return own
    for path in (Path(name), PROJECT_ROOT / name):
        if path.is_file() and path.suffix not in _SUFFIXES:
            raise UsageError(f'{name!r} is no config: mmengine reads {", ".join(_SUFFIXES)}')
        if path.is_file():
            return path
    known = list_configs(benchmarks=True)
    stem = re.sub(r'\.py$', '', Path(name).name)
    named = [path for path in known if path.stem == stem and Path(name).parent == Path('.')]
    if named:
        return named[0]
    nearest = difflib.get_close_matches(stem, [p.stem for p in known], n=3, cutoff=0.5)
    message = f'there is no config {name!r} (seen from {Path.cwd()})'
    if nearest:
        paths = [shown(p) for n in nearest for p in known if p.stem == n]
        message += f'; did you mean {paths[0]}?'
        if paths[1:]:
            message += f' Also near: {", ".join(paths[1:])}'
    else:
        message += '; the configs of this project are:\n  ' + '\n  '.join(shown(p) for p in known)
    raise UsageError(message)


def load_config(path: Path) -> 'Config':
    """Load a config after checking that the toolboxes it inherits from are there.

    Its ``default_scope`` is one of :data:`SCOPES`.

    Raises:
        UsageError: The file is no valid config, or belongs to no toolbox.
        MissingPackageError: A toolbox that it needs is missing or unusable.
    """
    try:
        return _load_config(path)
    except (UsageError, environment.MissingPackageError):
        raise
    except Exception as error:  # a config is a program
        raise UsageError(
            f'the config {shown(path)} cannot be loaded: {_line(error)}{describe(error)}'
        ) from error


def _line(error: Exception) -> str:
    """Which line of a config raised an error, if one did."""
    lines = [
        f'{shown(Path(frame.f_code.co_filename))}, line {line}: '
        for frame, line in traceback.walk_tb(error.__traceback__)
        if '_base_' in frame.f_globals  # mmengine puts it there for a config
    ]
    return lines[-1] if lines else ''


def _load_config(path: Path) -> 'Config':
    import yaml  # of mmengine's, which the names of configs need not
    from mmengine.config import Config

    purpose = f'the config {shown(path)}'
    scopes = _base_scopes(path)
    if scopes:
        environment.require('mmcv', *sorted(scopes), purpose=purpose)
    # With an import of another package above `_base_` mmengine takes the file for one of its
    # other kind, which knows no `_base_`.
    if path.suffix == '.py' and Config._is_lazy_import(str(path)) and _bases(path):
        raise UsageError(
            f'{purpose} imports a module beside its _base_, which mmengine would then pass over. '
            "Name the module in custom_imports=dict(imports=['...']) in its place, or inherit by "
            '`with read_base(): from ... import *`'
        )
    try:
        cfg = Config.fromfile(path)
    except FileNotFoundError as error:
        raise UsageError(f'{purpose} inherits from a file that does not exist: {error}') from error
    except (ValueError, yaml.YAMLError) as error:
        if path.suffix == '.py':
            raise
        raise UsageError(f'{purpose} cannot be read as {path.suffix[1:]}: {error}') from error
    scope = cfg.get('default_scope')
    if scope not in SCOPES:
        raise UsageError(
            f'{purpose} has default_scope={scope!r}; the tools run configs whose default_scope '
            f'is one of {", ".join(SCOPES)}. Inherit from the _base_/default_runtime.py of a '
            'toolbox, or set default_scope in the config'
        )
    environment.require('mmcv', scope, purpose=purpose)
    return cfg


def merge_options(
    cfg: 'Config',
    options: Optional[Mapping[str, Any]],
    name: str,
    allow_new_keys: bool = False,
) -> None:
    """Change settings of a config, in place, as ``--cfg-options`` do: dotted keys to values.

    Args:
        cfg: The config; what stands in it is looked at, too.
        options: The settings.
        name: What the user called the config.
        allow_new_keys: Take keys that nothing here reads, see :func:`.refuse_unknown_keys`.

    Raises:
        UsageError: They do not fit the config, or nothing can be done with their values.
    """
    options = dict(options or {})
    refuse_infinite(options, '--cfg-options')
    for key in options:
        inner = [other for other in options if other.startswith(f'{key}.')]
        if inner:
            raise UsageError(f'--cfg-options set {key} and {inner[0]}, a part of it; give one')
    before = copy.deepcopy(cfg)
    for key in options:
        _open(cfg, key.split('.'))
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        reason = describe(error).partition(': ')[2]
        raise UsageError(f'--cfg-options do not fit {name}: {reason}') from error
    if not allow_new_keys:
        refuse_unknown_keys(before, cfg, options, name)
    check_settings(cfg, name)


def _open(node: Any, key: List[str]) -> None:
    """Let an option into a part that is ``None``; mmengine takes it for no place for keys."""
    for part in key[:-1]:
        place: Any = int(part) if isinstance(node, list) and part.isdigit() else part
        try:
            if node[place] is None:
                node[place] = {}
            node = node[place]
        except (KeyError, IndexError, TypeError):
            return  # which the merging reports


def _base_scopes(path: Path, heirs: Tuple[Path, ...] = ()) -> Set[str]:
    """Toolboxes named by ``_base_ = 'toolbox::...'`` in a config and in its bases."""
    heirs = (*heirs, path.resolve())
    if heirs[-1] in heirs[:-1]:
        chain = ' -> '.join(map(shown, heirs[heirs.index(heirs[-1]) :]))
        raise UsageError(f'the config {shown(path)} inherits from itself: {chain}')
    scopes: Set[str] = set()
    for base in _bases(path):
        scope, external, _ = base.partition('::')
        local = path.parent / base
        if external and scope == 'tinyvim_mm':
            local = CONFIG_ROOT / base.partition('::')[2]
        if external and scope in SCOPES:
            scopes.add(scope)
        elif local.suffix in _SUFFIXES and local.is_file():
            scopes |= _base_scopes(local, heirs)
    return scopes


def _bases(path: Path) -> List[str]:
    """What a config inherits from; none where only mmengine can tell, which reports for itself."""
    if path.suffix != '.py':
        from mmengine.fileio import load

        try:
            content = load(path)
        except Exception:  # noqa: BLE001 - mmengine first fills in `{{ fileDirname }}`, and the like
            return []
        if not isinstance(content, dict):
            raise UsageError(f'{shown(path)} is no config: it holds no mapping of names to values')
        bases = content.get('_base_', [])
    else:
        try:
            tree = ast.parse(path.read_text(encoding='utf-8'))
        except UnicodeDecodeError as error:
            raise UsageError(f'{shown(path)} is not text in UTF-8: {error}') from error
        except SyntaxError as error:
            raise UsageError(f'{shown(path)}, line {error.lineno}: {error.msg}') from error
        assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
        values = [n.value for n in assigned if getattr(n.targets[0], 'id', '') == '_base_']
        try:
            bases = ast.literal_eval(values[0]) if values else []
        except ValueError:  # computed
            return []
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, (list, tuple)) or not all(isinstance(base, str) for base in bases):
        raise UsageError(f'{shown(path)}: _base_ is the path of a config or a list, got {bases!r}')
    return list(bases)
