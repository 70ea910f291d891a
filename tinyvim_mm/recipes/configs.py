"""Find a config by path or name, and load it."""

import ast
import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Set

from ..core import environment
from ..core.environment import SCOPES
from ..core.errors import UsageError
from ..core.paths import CONFIG_ROOT, PROJECT_ROOT, shown
from .model_folder import config_in

if TYPE_CHECKING:
    from mmengine.config import Config


def list_configs() -> List[Path]:
    """All runnable configs of the project, sorted."""
    return sorted(p for p in CONFIG_ROOT.rglob('*.py') if '_base_' not in p.parts)


# What mmengine's Config reads.
_SUFFIXES = ('.py', '.yml', '.yaml', '.json')


def find_config(name: str) -> Path:
    """Find the file of a config.

    Args:
        name: A path relative to the current folder or to the project, or the
            bare name of one of the project's configs, with or without ``.py``.

    Raises:
        UsageError: There is no such config, and the message names the nearest, or
            the file is none.
    """
    if Path(name).is_dir() and (own := config_in(name)):
        return own
    for path in (Path(name), PROJECT_ROOT / name):
        if path.is_file() and path.suffix not in _SUFFIXES:
            raise UsageError(f'{name!r} is no config: mmengine reads {", ".join(_SUFFIXES)}')
        if path.is_file():
            return path
    known = list_configs()
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
    import yaml  # of mmengine's, which the names of configs need not
    from mmengine.config import Config

    purpose = f'the config {shown(path)}'
    scopes = _base_scopes(path)
    if scopes:
        environment.require('mmcv', *sorted(scopes), purpose=purpose)
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


def merge_options(cfg: 'Config', options: Optional[Mapping[str, Any]], name: str) -> None:
    """Change settings of a config, in place, as ``--cfg-options`` do: dotted keys to values.

    Raises:
        UsageError: They do not fit the config, which the user called ``name``.
    """
    try:
        cfg.merge_from_dict(dict(options or {}))
    except (KeyError, TypeError, IndexError) as error:
        raise UsageError(f'--cfg-options do not fit {name}: {error}') from error


def _base_scopes(path: Path) -> Set[str]:
    """Toolboxes named by ``_base_ = 'toolbox::...'`` in a config and in its bases."""
    scopes: Set[str] = set()
    for base in _bases(path):
        scope, external, _ = base.partition('::')
        local = path.parent / base
        if external and scope == 'tinyvim_mm':
            local = CONFIG_ROOT / base.partition('::')[2]
        if external and scope in SCOPES:
            scopes.add(scope)
        elif local.suffix in _SUFFIXES and local.is_file():
            scopes |= _base_scopes(local)
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
        except SyntaxError as error:
            raise UsageError(f'{shown(path)}, line {error.lineno}: {error.msg}') from error
        assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
        values = [n.value for n in assigned if getattr(n.targets[0], 'id', '') == '_base_']
        try:
            bases = ast.literal_eval(values[0]) if values else []
        except ValueError:  # computed
            return []
    return [bases] if isinstance(bases, str) else list(bases)
