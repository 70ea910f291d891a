"""Check that all weights that a model starts from exist, before anything slow starts."""

from pathlib import Path
from typing import TYPE_CHECKING, Iterator

from ..core.errors import CheckpointError, UsageError
from ..core.paths import absent
from ..weights import addresses

if TYPE_CHECKING:
    from mmengine.config import Config


def check_pretrained(cfg: 'Config') -> None:
    """Raise if a training is to start from a weight file that does not exist, or is not fetched.

    Raises:
        UsageError: It names the part, the file and the cure.
    """
    for key, checkpoint in [*_pretrained(cfg), ('load_from', cfg.get('load_from'))]:
        _check_address(key, checkpoint)
    for key, checkpoint in absent_pretrained(cfg):
        raise UsageError(
            f'{key}: there is no weight file {checkpoint} (seen from {Path.cwd()}).\n'
            "Download the ImageNet weights from the release of the model's authors and save "
            'them there, or name the file you have:\n'
            f'  --cfg-options {key}.checkpoint=FILE\n'
            'To start from random weights, which the published results do not:\n'
            f'  --cfg-options {key}=None'
        )


def check_teacher(cfg: 'Config') -> None:
    """Raise if a student is to learn from a teacher whose weight file does not exist.

    Raises:
        UsageError: It names the file and the cure.
    """
    checkpoint = (cfg.get('model', {}).get('distillation') or {}).get('checkpoint')
    _check_address('model.distillation', checkpoint)
    if _absent(checkpoint):
        raise UsageError(
            f'model.distillation: there is no weight file {checkpoint} of the teacher (seen from '
            f'{Path.cwd()}).\nName the file you have:\n'
            '  --cfg-options model.distillation.checkpoint=FILE\n'
            'To train without a teacher, which the published results do not:\n'
            '  --cfg-options model.distillation=None'
        )


def absent_pretrained(cfg: 'Config') -> Iterator[tuple]:
    """``(key of the init_cfg, checkpoint)`` of all local weight files that are absent."""
    return ((key, path) for key, path in _pretrained(cfg) if _absent(path))


def _pretrained(cfg: 'Config') -> Iterator[tuple]:
    """``(key of the init_cfg, checkpoint)`` of all parts of a model that start from weights."""

    def walk(node: object, key: str) -> Iterator[tuple]:
        if isinstance(node, (list, tuple)):
            for index, child in enumerate(node):
                yield from walk(child, f'{key}.{index}')
        if not isinstance(node, dict):
            return
        init_cfg = node.get('init_cfg')
        if isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained':
            yield f'{key}.init_cfg', init_cfg.get('checkpoint')
        for name, child in node.items():
            yield from walk(child, f'{key}.{name}')

    yield from walk(cfg.get('model'), 'model')


def _absent(path: object) -> bool:
    if not isinstance(path, str) or addresses.is_remote(path):
        return False
    return absent(str(addresses.local_file(path)[0]))


def _check_address(key: str, path: object) -> None:
    """Raise a UsageError for an address that is not read, or not without a word."""
    if isinstance(path, str) and '://' in path:
        try:
            addresses.check(path)
        except CheckpointError as error:
            raise UsageError(f'{key}: {error}') from error


def existing_checkpoint(path: str, option: str) -> str:
    """Check the file of a checkpoint; of an address, whether it may be read.

    Raises:
        UsageError: It is no file, does not exist, or is an address that is not fetched; the
            message begins with ``option``, for which the user wrote it, and lists what lies there.
    """
    _check_address(option, path)
    if addresses.is_remote(path):
        return path
    file, _ = addresses.local_file(path)
    if file.is_file():
        return path
    folder = file if file.is_dir() else file.parent
    beside = sorted(p.name for p in folder.glob('*.pth')) if folder.is_dir() else []
    if file.exists():
        cure = f'; it holds: {", ".join(beside[:8])}' if beside else ', which holds no .pth file'
        what = f'a folder{cure}' if file.is_dir() else 'a device or the like'
        if option == '--resume' and beside and file.is_dir():
            cure = f'To go on with the latest checkpoint of a work dir: --work-dir {path} --resume'
            raise UsageError(f'--resume: {path} is {what}, and a checkpoint is wanted. {cure}')
        raise UsageError(f'{option}: {path} is {what}, and a checkpoint is wanted')
    if beside:
        hint = f'{folder} holds: {", ".join(beside[:8])}'
    elif folder.is_dir():
        hint = f'the folder {folder} holds no .pth file'
    else:
        hint = f'the folder {folder} does not exist either'
    raise UsageError(f'{option}: there is no file {path} (seen from {Path.cwd()}); {hint}')
