"""Check that all weights that a model starts from exist, before anything slow starts."""

from pathlib import Path
from typing import TYPE_CHECKING, Iterator

from ..core.errors import UsageError
from ..core.paths import absent

if TYPE_CHECKING:
    from mmengine.config import Config


def check_pretrained(cfg: 'Config') -> None:
    """Raise if a model part is to start from a weight file that does not exist.

    Raises:
        UsageError: It names the part, the file and the cure.
    """
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
    if absent(checkpoint):
        raise UsageError(
            f'model.distillation: there is no weight file {checkpoint} of the teacher (seen from '
            f'{Path.cwd()}).\nName the file you have:\n'
            '  --cfg-options model.distillation.checkpoint=FILE\n'
            'To train without a teacher, which the published results do not:\n'
            '  --cfg-options model.distillation=None'
        )


def absent_pretrained(cfg: 'Config') -> Iterator[tuple]:
    """``(key of the init_cfg, checkpoint)`` of all local weight files that are absent."""

    def walk(node: object, key: str) -> Iterator[tuple]:
        if not isinstance(node, dict):
            return
        init_cfg = node.get('init_cfg')
        pretrained = isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained'
        if pretrained and absent(init_cfg.get('checkpoint')):
            yield f'{key}.init_cfg', init_cfg['checkpoint']
        for name, child in node.items():
            yield from walk(child, f'{key}.{name}')

    yield from walk(cfg.get('model'), 'model')


def existing_checkpoint(path: str, option: str) -> str:
    """Check the file of a checkpoint; an address with a scheme is left to mmengine.

    Raises:
        UsageError: It is no file, or does not exist; the message begins with ``option``, for
            which the user wrote it, and lists what lies there.
    """
    if '://' in path or Path(path).is_file():
        return path
    file = Path(path)
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
