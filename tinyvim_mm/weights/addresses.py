"""Where checkpoints may come from: files, ``file://``, the Hub, the web, remote storage."""

import contextlib
from pathlib import Path
from typing import Iterator, Tuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..core.errors import CheckpointError
from ..core.paths import file_sha256
from . import downloads, hub

#: Names that mmengine translates into addresses of the web.
NAMED = ('modelzoo://', 'torchvision://', 'open-mmlab://', 'openmmlab://', 'mmcls://')
_FILE = 'file://'


def is_remote(path: str) -> bool:
    """Whether something is an address, and not that of a file here."""
    return '://' in path and not path.startswith(_FILE)


def check(path: str) -> None:
    """Raise a CheckpointError for an address that is never read, or not without a word."""
    if '://' not in path or path.startswith(_FILE):
        local_file(path)
    elif path.startswith(hub.SCHEME):
        with _hub_errors():
            hub.parse(path)
    elif path.startswith((*downloads.SCHEMES, *NAMED)):
        downloads.split_checksum(path)
        downloads.require_word(path)
    elif not _is_storage(path):
        known = ', '.join([_FILE, hub.SCHEME, *downloads.SCHEMES])
        raise CheckpointError(
            f'{path} is of a kind that is not read here: give the path of a file, or an address '
            f'that begins with {known}'
        )


def refuse_trust_in_the_wire(path: str) -> None:
    """Raise a CheckpointError for what may run code and could be exchanged on its way."""
    if not path.startswith('http://'):
        return
    downloads.require_word(path)
    if not downloads.split_checksum(path)[1]:
        raise CheckpointError(
            f'{path} may not run code: anybody between here and there could exchange it. Take '
            'https://, or put #sha256=HEX after the address, or do without --trust-checkpoint'
        )


def local_file(path: str) -> Tuple[Path, str]:
    """The file that a path or a ``file://`` address names, and the SHA-256 wanted of it, if any."""
    if not path.startswith(_FILE):
        return Path(path).expanduser(), ''
    bare, checksum = downloads.split_checksum(path)
    parts = urlsplit(bare)
    if parts.netloc not in ('', 'localhost') or not parts.path or '\0' in parts.path:
        raise CheckpointError(
            f'{path} is no address of a file here: it must be file:///folder/file'
        )
    return Path(url2pathname(parts.path)), checksum


@contextlib.contextmanager
def opened(path: str) -> Iterator[Path]:
    """Where the file lies that a path or address names, fetched if it has to be.

    Raises:
        CheckpointError: It cannot be had, or is never fetched.
    """
    check(path)
    if not is_remote(path):
        file, checksum = local_file(path)
        if checksum and file.is_file():
            downloads.compare_checksum(path, checksum, file_sha256(file))
        yield file
    elif path.startswith(hub.SCHEME):
        with _hub_errors():
            file = hub.fetch(path)
        yield file
    elif path.startswith(downloads.SCHEMES):
        with downloads.fetched(path) as file:
            yield file
    else:
        with _from_storage(path) as file:
            yield file


@contextlib.contextmanager
def _hub_errors() -> Iterator[None]:
    try:
        yield
    except hub.HubError as error:
        raise CheckpointError(str(error)) from error


def _is_storage(path: str) -> bool:
    from mmengine.fileio.backends import prefix_to_backends

    prefix = path.split('://')[0].rpartition(':')[2]  # cluster:s3://...
    # mmengine also knows the web, which nothing but a word opens.
    known = prefix in prefix_to_backends and f'{prefix}://' not in downloads.SCHEMES
    return bool(prefix) and known and path.count('://') == 1


@contextlib.contextmanager
def _from_storage(path: str) -> Iterator[Path]:
    """From remote storage, for which mmengine needs a client and its settings."""
    from mmengine.fileio import get_local_path

    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(get_local_path(path))
        except Exception as error:  # of any client
            why = ' '.join(str(error).split()) or type(error).__name__
            raise CheckpointError(
                f'{path} cannot be had: {why}. Copy the file here and give its path'
            ) from error
        yield Path(file)
