"""A trained model as a folder: its config, its weights and the names of its classes.

``finetune`` and ``publish`` write such folders, and some are a part of this package.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence, Union

from ..core.errors import UsageError

if TYPE_CHECKING:
    from mmengine.config import Config

CONFIG, CLASSES = 'config.py', 'classes.txt'
#: Weights as trainings save them, and as they are handed on.
SAVED, PUBLISHED = 'weights.pth', 'weights.safetensors'
#: Of the models that are a part of this package; a README beside each says what it can do.
TRAINED = Path(__file__).with_name('trained')


def trained_models() -> List[str]:
    """Names of the models that are a part of this package; they serve where a folder does."""
    return sorted(path.parent.name for path in TRAINED.glob(f'*/{CONFIG}'))


def config_in(name: Union[str, Path]) -> Optional[Path]:
    """The config of such a folder, of the one named ``model`` in a folder of a training, or of
    a model of this package; ``None`` if it is neither.
    """
    places = [Path(name), Path(name) / 'model']
    if str(name) in trained_models():
        places.append(TRAINED / name)
    for place in places:
        if (place / CONFIG).is_file() and _weights_beside(place / CONFIG):
            return place / CONFIG
    return None


def weights_in(name: Union[str, Path, None]) -> Optional[str]:
    """The weights beside :func:`config_in`; ``None`` if there is no such folder."""
    config = config_in(name) if name else None
    return str(_weights_beside(config)) if config else None


def name_of(config: Path) -> str:
    """What a config is called: in a folder with weights, that is the folder."""
    if config.name != CONFIG or not _weights_beside(config):
        return config.stem
    folder = config.resolve().parent
    return folder.parent.name if folder.name == 'model' else folder.name


def write_model(
    folder: Path, cfg: 'Config', classes: Sequence[str], weights: Optional[Path] = None
) -> Path:
    """Write one; its config inherits from nothing, so that it can be taken elsewhere.

    Args:
        folder: Made if it does not exist.
        cfg: Of the model.
        classes: Their names.
        weights: Checkpoint to copy; ``None`` leaves that to the caller.

    Raises:
        UsageError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if weights is not None:
            shutil.copyfile(weights, folder / SAVED)
        (folder / CLASSES).write_text('\n'.join(classes) + '\n', 'utf-8')
        cfg.dump(folder / CONFIG)
    except OSError as error:
        raise UsageError(f'{folder} cannot be written: {error.strerror or error}') from error
    return folder


def _weights_beside(config: Path) -> Optional[Path]:
    files = (config.with_name(name) for name in (SAVED, PUBLISHED))
    return next((file for file in files if file.is_file()), None)
