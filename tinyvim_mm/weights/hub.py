"""Checkpoints on the Hugging Face Hub: ``hf://owner/repository/file.safetensors[@revision]``.

``huggingface_hub`` is imported when such an address is read. It keeps what it
fetched, obeys ``HF_HUB_OFFLINE``, ``HF_HOME`` and ``HF_ENDPOINT``, and sends the
token of ``hf auth login`` to repositories that want one.
"""

import socket
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

from ..core.environment import with_hint

SCHEME = 'hf://'

#: Seconds until the Hub must answer. A machine without a network shall not wait long.
ANSWER_TIMEOUT = 5.0

_FORM = f'{SCHEME}owner/repository/path/to/file[@revision]'
_NO_CONNECTION = (
    'it was not fetched before, and the Hub cannot be reached, or HF_HUB_OFFLINE forbids to; '
    'connect, or copy the file here and give its path'
)
# From the classes of huggingface_hub's exceptions, by name: their modules and bases change
# between its versions. The first that an exception has among its bases, from the most special
# one up, tells what is wrong.
_CAUSES = {
    'LocalEntryNotFoundError': _NO_CONNECTION,
    'OfflineModeIsEnabled': _NO_CONNECTION,
    'GatedRepoError': 'the repository wants its terms to be accepted on its page, and a token '
    '(`hf auth login`)',
    'RepositoryNotFoundError': 'there is no such repository, or it is private and needs a token '
    '(`hf auth login`)',
    'RevisionNotFoundError': 'the repository has no such revision',
    'EntryNotFoundError': 'the repository has no such file',
    'HFValidationError': f'the address must be of the form {_FORM}',
    'ConnectionError': _NO_CONNECTION,
    'TransportError': _NO_CONNECTION,
    'TimeoutError': _NO_CONNECTION,
}


class HubError(ValueError):
    """A file of the Hub cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class HubFile:
    """A file on the Hub.

    Attributes:
        repo_id: ``owner/repository``.
        filename: Path inside the repository.
        revision: Branch, tag or commit; ``None`` takes the default branch.
    """

    repo_id: str
    filename: str
    revision: Optional[str] = None


def parse(address: str) -> HubFile:
    """Take an address apart.

    Args:
        address: ``hf://owner/repository/path/to/file[@revision]``.

    Raises:
        HubError: It has another form.
    """
    path, at, revision = address.removeprefix(SCHEME).partition('@')
    owner, _, rest = path.partition('/')
    repository, _, filename = rest.partition('/')
    parts = (owner, repository, *filename.split('/'))
    complete = address.startswith(SCHEME) and all(parts) and bool(revision) == bool(at)
    if not complete or '..' in parts:
        raise HubError(f'{address} is no address of a file on the Hub: it must be {_FORM}')
    return HubFile(f'{owner}/{repository}', filename, revision or None)


def fetch(address: str) -> Path:
    """Fetch a file, unless it is here already.

    Args:
        address: See :func:`parse`.

    Returns:
        Where it lies, in the cache of ``huggingface_hub``.

    Raises:
        HubError: The address is wrong, the library is missing, or the Hub does
            not give the file.
    """
    file = parse(address)
    try:
        import huggingface_hub
    except ImportError as error:
        raise HubError(
            with_hint(
                f'{address} needs the huggingface_hub library: pip install huggingface_hub, or '
                f'copy the file here and give its path ({error})'
            )
        ) from error
    try:
        return Path(
            huggingface_hub.hf_hub_download(
                file.repo_id,
                file.filename,
                revision=file.revision,
                etag_timeout=ANSWER_TIMEOUT,
                local_files_only=not _may_be_reached(huggingface_hub.constants.ENDPOINT),
            )
        )
    except Exception as error:
        names = [cls.__name__ for cls in type(error).__mro__]
        cause = next((_CAUSES[name] for name in names if name in _CAUSES), None)
        if cause is None:
            first = (str(error).splitlines() or [''])[0]
            cause = f'{type(error).__name__}: {first}'
        raise HubError(f'{address} cannot be had: {cause}') from error


def _may_be_reached(endpoint: str) -> bool:
    """Whether the name of a host is known. Without, the library would retry for half a minute."""
    if urllib.request.getproxies():
        return True  # who knows the name then is the proxy
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, None)
    except OSError:
        return False
    return True
