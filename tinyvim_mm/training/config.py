"""A config as a run takes it: loaded, changed by options, ready for the launcher."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Optional, Union

from ..core.errors import UsageError
from ..recipes.configs import find_config, load_config, merge_options

if TYPE_CHECKING:
    from mmengine.config import Config


def prepare_config(
    config: Union[str, Path],
    *,
    sample: bool = False,
    data_root: Optional[str] = None,
    options: Optional[Mapping[str, Any]] = None,
    launcher: str = 'none',
    work_dir: Union[str, Path, None] = None,
    trust_checkpoint: bool = False,
) -> 'Config':
    """Load a config and change it as the caller wishes.

    The order is: the config, then ``sample``, then ``options``, so that what the
    user writes wins.

    Args:
        config: Path of a config, or name of one of the project's.
        sample: Run on the photographs shipped with the project.
        data_root: Folder that stands for ``data/`` in the config's paths.
        options: Dotted keys of the config to new values.
        launcher: mmengine's: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        work_dir: Folder for what the run writes; ``None`` takes the config's, or
            else ``work_dirs/CONFIG``.
        trust_checkpoint: Let checkpoints execute code.

    Raises:
        UsageError: No such config, sample impossible, option impossible,
            launcher impossible on this machine.
        MissingPackageError: A package that the config needs is missing.
    """
    from ..core.compat import apply as apply_compat
    from ..weights.files import install_safe_loader
    from .distributed import prepare_launcher
    from .sample import apply_sample

    apply_compat()
    install_safe_loader(trust=trust_checkpoint)
    path = find_config(str(config))
    cfg = load_config(path)
    if sample:
        apply_sample(cfg, path)
    if data_root:
        move_data(cfg, data_root)
    merge_options(cfg, options, str(config))
    prepare_launcher(cfg, launcher)
    cfg.work_dir = str(work_dir or cfg.get('work_dir') or default_work_dir(path, sample))
    return cfg


def move_data(cfg: 'Config', root: str) -> None:
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


def default_work_dir(config: Path, sample: bool) -> str:
    """``work_dirs/CONFIG``; a sample run gets a folder of its own."""
    return str(Path('work_dirs') / (config.stem + ('_sample' if sample else '')))
