"""Checkpoints on the Hugging Face Hub: ``hf://owner/repository/file.safetensors[@revision]``.

The library ``huggingface_hub``, imported when such an address is read, keeps the files
that it fetched, and obeys ``HF_HUB_OFFLINE``, ``HF_HOME`` and ``HF_ENDPOINT``. To
repositories that want a token it sends that of ``hf auth login``.
"""

import socket
import urllib.request
from pathlib import Path
from typing import NamedTuple, Optional
from urllib.parse import urlsplit

from ..core.environment import with_hint

SCHEME = 'hf://'

#: Seconds until the Hub must answer. A machine without a network shall not wait long.
ANSWER_TIMEOUT = 5.0

_FORM = f'{SCHEME}owner/repository/path/to/file[@revision]'


class HubError(ValueError):
    """A file cannot be fetched from the Hub; the message says why, and what to do."""


class HubFile(NamedTuple):
    """A file on the Hub; without a ``revision`` it is that of the default branch."""

    repo_id: str
    filename: str
    revision: Optional[str] = None


def parse(address: str) -> HubFile:
    """Take an address apart; one of another form is a HubError."""
    path, at, revision = address.removeprefix(SCHEME).partition('@')
    owner, _, rest = path.partition('/')
    repository, _, filename = rest.partition('/')
    parts = (owner, repository, *filename.split('/'))
    complete = address.startswith(SCHEME) and all(parts) and bool(revision) == bool(at)
    if not complete or '..' in parts:
        raise HubError(f'{address} is no address of a file on the Hub: it must be {_FORM}')
    return HubFile(f'{owner}/{repository}', filename, revision or None)


def fetch(address: str) -> Path:
    """Fetch a file, unless it is in the cache of ``huggingface_hub`` already; where it lies there.

    Raises:
        HubError: The address is wrong, the library is missing, or the Hub does
            not give the file.
    """
    file = parse(address)
    try:
        from huggingface_hub import constants, hf_hub_download
    except ImportError as error:
        raise HubError(
            with_hint(
                f'{address} needs the huggingface_hub library: pip install huggingface_hub, or '
                f'copy the file here and give its path ({error})'
            )
        ) from error
    reached = _may_be_reached(constants.ENDPOINT)
    try:
        path = hf_hub_download(
            **file._asdict(), etag_timeout=ANSWER_TIMEOUT, local_files_only=not reached
        )
        return Path(path)
    except Exception as error:
        reason = 'it was not fetched before, and the Hub cannot be reached.'
        if reached:  # the library says what is wrong: no such file, no access, ...
            reason = ' '.join([f'{type(error).__name__}:', *str(error).split()])
        raise HubError(
            f'{address} cannot be had: {reason} Or copy the file here and give its path'
        ) from error


def _may_be_reached(endpoint: str) -> bool:
    """Whether the host has an address; else the library would try again for half a minute."""
    if urllib.request.getproxies():
        return True  # who knows the name then is the proxy
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, None)
    except OSError:
        return False
    return True
