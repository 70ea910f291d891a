"""How the settings of a training differ from the project's config of that name."""

import textwrap
from pathlib import Path
from typing import Any, Iterator, List, Optional

from ..core.compat import apply as apply_compat
from ..recipes.configs import list_configs, load_config
from .training_log import TrainingLog

_SETTINGS = ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'custom_hooks', 'sync_bn')


def recipe_of(log: TrainingLog) -> Optional[Path]:
    """The project's config that has the name of a training's, ``None`` if none has."""
    return next((path for path in list_configs(benchmarks=True) if path.stem == log.name), None)


def changes_from_recipe(log: TrainingLog) -> Optional[List[str]]:
    """Settings of a training that differ from its recipe, such as ``model.head.x=1``.

    Paths count as the same where their last part is, since data and weights lie
    elsewhere on each machine.

    Returns:
        Dotted keys with the training's values; ``None`` if the project has no
        config of that name.

    Raises:
        MissingPackageError: The toolbox of the config is missing.
    """
    path = recipe_of(log)
    if path is None:
        return None
    apply_compat()
    recipe = load_config(path)
    if recipe.get('data_preprocessor'):
        # mmengine's Runner puts it there before it dumps the config.
        recipe.model.setdefault('data_preprocessor', recipe.data_preprocessor)
    ours, theirs = (_plain(cfg.to_dict()) for cfg in (recipe, log.cfg))
    return [
        change
        for key in dict.fromkeys((*_settings(recipe), *_settings(log.cfg)))
        for change in _differences(key, ours.get(key), theirs.get(key))
    ]


def _settings(cfg: Any) -> Iterator[str]:
    """Keys on which scores depend; the others are of the run, or variables of config files."""
    for key in cfg:
        if key in _SETTINGS or key.endswith(('_dataloader', '_evaluator')):
            yield key


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _differences(key: str, ours: Any, theirs: Any) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if ours.get('type') != theirs.get('type'):
            yield f'{key}.type={theirs.get("type")}'
            return  # each has settings of its own
        for name in {**ours, **theirs}:
            yield from _differences(f'{key}.{name}', ours.get(name), theirs.get(name))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _differences(f'{key}.{index}', one, other)
    elif ours != theirs and not _same_path(ours, theirs) and not _of_loading(key):
        yield f'{key}={textwrap.shorten(str(theirs), 60, placeholder=" ...")}'


def _same_path(ours: Any, theirs: Any) -> bool:
    if not (isinstance(ours, str) and isinstance(theirs, str) and '/' in ours + theirs):
        return False
    return Path(ours).name == Path(theirs).name


def _of_loading(key: str) -> bool:
    """Whether a setting says how images are loaded, which changes no score."""
    return key.endswith(('.num_workers', '.persistent_workers', '.pin_memory', '.data_root'))
