"""Where things lie, in a clone and in an installed package."""

import hashlib
import os
from pathlib import Path
from typing import Optional, Union

_PACKAGE = Path(__file__).resolve().parents[1]
#: The clone; or in an installed package the folder where mim and mmengine look
#: for ``configs``, ``tools`` and ``model-index.yml``, which has no sample data.
PROJECT_ROOT = _PACKAGE.parent if (_PACKAGE.parent / 'setup.py').is_file() else _PACKAGE / '.mim'
MODEL_INDEX = PROJECT_ROOT / 'model-index.yml'
CONFIG_ROOT = PROJECT_ROOT / 'configs'
#: The photographs that are shipped with the project.
SAMPLES = PROJECT_ROOT / 'data' / 'sample'
SAMPLE_COCO = SAMPLES / 'coco'
SAMPLE_ADE = SAMPLES / 'ade' / 'ADEChallengeData2016'
SAMPLE_IMAGENET = SAMPLES / 'imagenet'


def shown(path: Path) -> str:
    """A path as a user wants to read it: relative to the current folder if it lies inside."""
    path, real = Path(path), Path(os.path.realpath(path))
    if real.is_relative_to(Path.cwd()):
        path = real.relative_to(Path.cwd())
    # A name that is not UTF-8 cannot be printed.
    return str(path).encode(errors='backslashreplace').decode()


def absent(path: Optional[str]) -> bool:
    """Whether something is the path of a file or folder that does not exist.

    Addresses with a scheme count as present: mmengine fetches them.
    """
    return isinstance(path, str) and '://' not in path and not Path(path).exists()


def put_in_place(part: Path, file: Path) -> None:
    """Give a written file its name, so that the name never stands for half a file."""
    with part.open('rb+') as stream:
        os.fsync(stream.fileno())  # the content has to be on the disk before the name is
    os.replace(part, file)


def write_whole(file: Path, content: bytes) -> None:
    """Write a file; whoever reads it, or finds it after an error, sees the old one or the new.

    Raises:
        OSError: It cannot be written.
    """
    part = file.with_name(f'.{file.name}.part')
    try:
        part.write_bytes(content)
        put_in_place(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def is_utf8(path: Union[str, Path]) -> bool:
    """Whether a name of a file can be given to a library that takes no other."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
