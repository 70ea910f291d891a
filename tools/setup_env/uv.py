"""Finds or fetches uv, and tells it how pip is configured here."""

import ast
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from .common import CACHE, SetupError, ask

MINIMUM = (0, 8)  # chooses a build of torch: --torch-backend
OWN = CACHE / 'uv' / 'uv'
INDEX = 'https://pypi.org/simple'
JSON = 'application/vnd.pypi.simple.v1+json'

# Option of pip, variable of uv, what uv puts between several values.
TRANSLATION = (
    ('index-url', 'UV_DEFAULT_INDEX', ' '),
    ('extra-index-url', 'UV_INDEX', ' '),
    ('find-links', 'UV_FIND_LINKS', ','),
    ('constraint', 'UV_CONSTRAINT', ' '),
    ('trusted-host', 'UV_INSECURE_HOST', ' '),
    ('timeout', 'UV_HTTP_TIMEOUT', ' '),
    ('default-timeout', 'UV_HTTP_TIMEOUT', ' '),
    ('cert', 'SSL_CERT_FILE', ' '),
    ('client-cert', 'SSL_CLIENT_CERT', ' '),
    ('proxy', 'ALL_PROXY', ' '),
)


class Uv:
    """uv, with the sources of packages that pip is configured with."""

    def __init__(self) -> None:
        candidates = ([sys.executable, '-m', 'pip'], ['pip3'], ['pip'])
        found = (command for command in candidates if ask([*command, '--version'])[0])
        self._pip = next(found, None)  # bare Debian has none
        self.variables = translated(self._pip_configuration())
        self.path = find_uv() or self._fetch()

    def command(self, *arguments: str) -> List[str]:
        """A command of it; quiet where nobody watches."""
        return [self.path, *arguments, *([] if sys.stderr.isatty() else ['--quiet'])]

    def _pip_configuration(self) -> Dict[str, str]:
        if self._pip:
            return read_configuration(ask([*self._pip, 'config', 'list'])[1].splitlines())
        own = {key[4:]: value for key, value in os.environ.items() if key.startswith('PIP_')}
        return read_configuration([f':env:.{key}={value!r}' for key, value in own.items()])

    def _fetch(self) -> str:
        print('fetching uv, which installs the packages', flush=True)
        OWN.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=str(OWN.parent)) as scratch:
            if self._pip:
                flags = ['--quiet', '--no-deps', '--only-binary', ':all:', '--dest', scratch]
                requirement = 'uv>={}.{}'.format(*MINIMUM)
                done, _, problem = ask([*self._pip, 'download', *flags, requirement])
            else:
                done, problem = download_wheel(scratch)
            if not done:
                raise SetupError(
                    f'uv cannot be fetched:\n{problem.strip()}\nWhere packages come from a mirror, '
                    'name it: PIP_INDEX_URL=... make env. Or put uv on the PATH: '
                    'https://docs.astral.sh/uv/getting-started/installation'
                )
            with zipfile.ZipFile(str(next(Path(scratch).glob('*.whl')))) as archive:
                names = archive.namelist()
                name = next(name for name in names if name.endswith('.data/scripts/uv'))
                program = archive.extract(name, scratch)
            os.chmod(program, 0o755)
            os.replace(program, str(OWN))
        return str(OWN)


def read_configuration(lines: List[str]) -> Dict[str, str]:
    """Options in the output of ``pip config list``; variables count more than files."""
    options = {}
    for section in ('global', 'install', ':env:'):
        for line in lines:
            name, _, value = line.partition('=')
            if name.startswith(section + '.'):
                option = name[len(section) + 1 :].lower().replace('_', '-')
                options[option] = str(ast.literal_eval(value))
    return options


def translated(options: Dict[str, str]) -> Dict[str, str]:
    """Options of pip as variables of uv; what the user has set for uv itself stays."""
    # uv's own rule, the first index that has a package at all, is not pip's.
    variables = {'UV_INDEX_STRATEGY': 'unsafe-best-match', 'UV_NO_PROJECT': '1'}
    for option, variable, separator in TRANSLATION:
        values = options.get(option, '').split()
        if option in ('find-links', 'constraint'):  # of folders and files, beside any folder
            values = [v if '://' in v else os.path.abspath(os.path.expanduser(v)) for v in values]
        if values:
            variables[variable] = separator.join(values)
    return {name: value for name, value in variables.items() if not os.environ.get(name)}


def find_uv() -> Optional[str]:
    """A uv that is new enough: the user's, or the one that was fetched before."""
    for path in (os.environ.get('UV'), shutil.which('uv'), str(OWN)):
        found = re.match(r'uv (\d+)\.(\d+)', ask([path, '--version'])[1]) if path else None
        if found and (int(found.group(1)), int(found.group(2))) >= MINIMUM:
            return path
    return None


def download_wheel(folder: str) -> Tuple[bool, str]:
    """Fetch uv's newest wheel for this machine by what Python itself has.

    Returns:
        Whether it worked, and what went wrong.
    """
    index = os.environ.get('PIP_INDEX_URL', INDEX).rstrip('/') + '/uv/'
    kind = 'manylinux' if platform.system() == 'Linux' else 'macosx'
    request = urllib.request.Request(index, headers={'Accept': JSON})
    try:
        with urllib.request.urlopen(request, timeout=60) as page:
            files = json.loads(page.read().decode())['files']
        fitting = [
            each
            for each in files
            if kind in each['filename']
            and each['filename'].endswith(f'_{platform.machine()}.whl')
            and not each.get('yanked')
        ]
        if not fitting:
            return False, f'{index} has no wheel for {kind} on {platform.machine()}'
        wheel = max(fitting, key=lambda each: release(each['filename']))
        with urllib.request.urlopen(urllib.parse.urljoin(index, wheel['url'])) as answer:
            content = answer.read()
    except (OSError, ValueError, KeyError) as error:
        return False, f'{index}: {error}'
    if hashlib.sha256(content).hexdigest() != wheel['hashes']['sha256']:
        return False, f'{wheel["url"]} is not what the index says that it is (sha256)'
    Path(folder, wheel['filename']).write_bytes(content)
    return True, ''


def release(filename: str) -> Tuple[int, ...]:
    """``'uv-0.13.9-py3-...whl'`` to ``(0, 13, 9)``; one with letters is older than all others."""
    numbers = filename.split('-')[1].split('.')
    return tuple(map(int, numbers)) if all(map(str.isdigit, numbers)) else ()
