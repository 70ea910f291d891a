"""Checkpoints at ``http://`` and ``https://``: fetched only by word, bounded, and then files.

Whoever names an address in a config or a command does not always mean that a program shall
ask a server that it knows nothing of. So nothing is fetched without ``allow_download``
(``--allow-download``), or :data:`VARIABLE` where there is no such argument.
"""

import contextlib
import functools
import hashlib
import inspect
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any, Callable, Iterator, Tuple, TypeVar
from urllib.parse import urlsplit

from ..core.errors import CheckpointError

SCHEMES = ('http://', 'https://')
#: Set to 1, does what ``--allow-download`` does, in processes without this project's tools too.
VARIABLE = 'TINYVIM_MM_ALLOW_DOWNLOAD'

#: More is not fetched.
MAX_BYTES = 4 * 2**30
#: Seconds without a byte.
SILENCE = 30.0
#: Bytes per second, on the average, below which a server is given up after :data:`SILENCE`.
MIN_RATE = 1000.0

_BLOCK = 2**20
_allowed = False

_Function = TypeVar('_Function', bound=Callable[..., Any])


def with_word(function: _Function) -> _Function:
    """Let checkpoints be fetched while a function runs whose ``allow_download`` is true."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs).arguments
        with allowing(given.get('allow_download', False)):
            return function(*args, **kwargs)

    return run


@contextlib.contextmanager
def allowing(word: bool) -> Iterator[None]:
    """Let checkpoints be fetched, or leave it as it is."""
    global _allowed
    before = _allowed
    _allowed = before or word
    try:
        yield
    finally:
        _allowed = before


def require_word(address: str) -> None:
    """Raise a CheckpointError, with the cure, unless fetching is allowed."""
    if not _allowed and os.environ.get(VARIABLE) != '1':
        raise CheckpointError(
            f'{address} is not fetched unasked: give --allow-download (allow_download=True; '
            f'{VARIABLE}=1), if possible with #sha256=... after the address, or download the file '
            'and give its path'
        )


def split_checksum(address: str) -> Tuple[str, str]:
    """Part an address and the SHA-256 after it, ``#sha256=HEX``, which may be absent."""
    bare, _, mark = address.partition('#')
    found = re.fullmatch(r'sha256=([0-9a-fA-F]{64})', mark)
    if mark and not found:
        raise CheckpointError(
            f'{address}: after # may stand sha256= and 64 hexadecimal digits, not {mark!r}'
        )
    try:
        urlsplit(bare)
    except ValueError as error:
        raise CheckpointError(f'{address} is no address: {error}') from error
    return bare, found.group(1).lower() if found else ''


def compare_checksum(address: str, wanted: str, found: str) -> None:
    """Raise a CheckpointError if another checksum was wanted than was found."""
    if wanted and wanted != found:
        raise CheckpointError(
            f'{address} is another file: its SHA-256 is {found}. Take the right address or checksum'
        )


@contextlib.contextmanager
def fetched(address: str) -> Iterator[Path]:
    """Fetch a file; it is gone afterwards.

    Raises:
        CheckpointError: It is not allowed, the server does not give it, gives too much, too
            little, or too slowly, or its checksum is another.
    """
    require_word(address)
    bare, checksum = split_checksum(address)
    with tempfile.TemporaryDirectory(prefix='tinyvim_mm_') as folder:
        name = re.sub(r'[^\w.-]', '_', Path(urlsplit(bare).path).name)[-80:].lstrip('.')
        file = Path(folder) / (name or 'fetched')
        try:
            found = _fetch(bare, file)
        except (OSError, HTTPException, ValueError) as error:
            why = ' '.join(str(getattr(error, 'reason', '') or error).split())
            raise CheckpointError(
                f'{address} cannot be had: {why or type(error).__name__}. Try again, or download '
                'the file and give its path'
            ) from error
        compare_checksum(address, checksum, found)
        yield file


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to no other scheme, and from none that is safe to one that is not."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        allowed = SCHEMES[1:] if req.full_url.startswith('https://') else SCHEMES
        if not newurl.lower().startswith(allowed):
            raise ValueError(f'the server sends on to {newurl}, which is not followed')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(address: str, file: Path) -> str:
    """Write what a server sends; its SHA-256."""
    digest, done, begin = hashlib.sha256(), 0, time.monotonic()
    opener = urllib.request.build_opener(_Redirects)
    request = urllib.request.Request(address, headers={'User-Agent': 'tinyvim_mm'})
    with opener.open(request, timeout=SILENCE) as answer, file.open('wb') as out:
        announced = int(answer.headers.get('Content-Length') or -1)
        if answer.headers.get_content_type() == 'text/html':
            raise ValueError('the server sent a web page, not the file')
        while True:
            if max(done, announced) > MAX_BYTES:
                raise ValueError(
                    f'it has {max(done, announced):,} bytes or more; at most {MAX_BYTES:,} are '
                    'fetched'
                )
            block = answer.read1(_BLOCK)  # what is there, without waiting for the rest
            if not block:
                break
            digest.update(block)
            out.write(block)
            done += len(block)
            took = time.monotonic() - begin
            if took > SILENCE and done < took * MIN_RATE:
                raise ValueError(f'the server is too slow: {done:,} bytes in {took:.0f} s')
    if 0 <= announced != done:
        raise ValueError(f'the server sent {done:,} of {announced:,} bytes')
    return digest.hexdigest()
