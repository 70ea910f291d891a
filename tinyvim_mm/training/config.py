"""A config as a run takes it: loaded, changed by options, ready for the launcher."""

from pathlib import Path
from typing import Any, Mapping, Optional, Union

from mmengine.config import Config

from ..core import compat
from ..core.errors import UsageError
from ..recipes.building import building
from ..recipes.configs import find_config, load_config, merge_options
from ..recipes.model_folder import name_of
from ..recipes.old_keys import refuse_old_keys
from ..weights.files import install_safe_loader
from .distributed import prepare_launcher
from .sample import apply_sample


def prepare_config(
    config: Union[str, Path],
    work_dir: Union[str, Path, None] = None,
    sample: bool = False,
    options: Optional[Mapping[str, Any]] = None,
    data_root: Optional[str] = None,
    launcher: str = 'none',
    trust_checkpoint: bool = False,
    allow_new_keys: bool = False,
) -> Config:
    """Load a config and change it as the caller of :func:`~tinyvim_mm.training.train` wishes.

    ``sample`` comes first, then ``options``, so that what the user writes wins.

    Raises:
        UsageError: No such config; sample, option, or launcher impossible.
        MissingPackageError: A package that the config needs is missing.
    """
    compat.apply()
    install_safe_loader(trust=trust_checkpoint)
    path = find_config(str(config))
    cfg = load_config(path)
    refuse_old_keys(path, options)
    with building(cfg, str(config)):
        changes = apply_sample(cfg, path) if sample else ''
        if data_root:
            move_data(cfg, data_root)
        merge_options(cfg, options, str(config), allow_new_keys)
        if changes:  # once nothing of the command was refused
            print(changes, flush=True)
        prepare_launcher(cfg, launcher)
    own = Path('work_dirs') / (name_of(path) + ('_sample' if sample else ''))
    cfg.work_dir = str(work_dir or cfg.get('work_dir') or own)
    return cfg


def move_data(cfg: Config, root: str) -> None:
    """Let another folder stand for ``data/``, with which the paths of the recipes begin.

    Raises:
        UsageError: The folder does not exist.
    """
    if not Path(root).is_dir():
        raise UsageError(f'--data-root: there is no folder {root}')

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(moved(item) for item in value)
        if isinstance(value, str) and value.startswith('data/'):
            return str(Path(root) / value[len('data/') :]) + ('/' if value.endswith('/') else '')
        return value

    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    for key in (*loaders, 'val_evaluator', 'test_evaluator'):
        if key in cfg:
            cfg[key] = moved(cfg[key])
