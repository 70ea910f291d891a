"""A trained model as a folder: its config, its weights and the names of its classes."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Sequence, Union

if TYPE_CHECKING:
    from mmengine.config import Config

CONFIG, WEIGHTS, CLASSES = 'config.py', 'weights.pth', 'classes.txt'


def config_in(folder: Union[str, Path]) -> Optional[Path]:
    """The config of such a folder, or of the one named ``model`` in a folder of a training."""
    for place in (Path(folder), Path(folder) / 'model'):
        if (place / WEIGHTS).is_file() and (place / CONFIG).is_file():
            return place / CONFIG
    return None


def weights_in(folder: Union[str, Path, None]) -> Optional[str]:
    """The weights of such a folder; ``None`` if it is none."""
    config = config_in(folder) if folder and Path(folder).is_dir() else None
    return str(config.with_name(WEIGHTS)) if config else None


def write_model(folder: Path, cfg: 'Config', weights: Path, classes: Sequence[str]) -> Path:
    """Write one; its config inherits from nothing, so that it can be taken elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / WEIGHTS)
    (folder / CLASSES).write_text('\n'.join(classes) + '\n', 'utf-8')
    cfg.dump(folder / CONFIG)
    return folder
