"""What is recorded, and how it is compared with what is wanted."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Dict, Iterable

from .common import ROOT


def read_json(path: Path) -> Dict:
    """A JSON object, empty if the file is missing or broken."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Dict) -> None:
    """Write a file that is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix('.new')
    draft.write_text(json.dumps(content, indent=1), encoding='utf-8')
    os.replace(str(draft), str(path))


def digest(*parts: str) -> str:
    """Short hash of some strings."""
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()[:16]


def file_digest(paths: Iterable[Path]) -> str:
    """Hash of the contents of those files that exist, and of their names."""
    parts = []
    for path in sorted(paths):
        if path.is_file():
            parts += [str(path.relative_to(ROOT)), hashlib.sha256(path.read_bytes()).hexdigest()]
    return digest(*parts)


def canonical(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r'[-_.]+', '-', name).lower()


def distribution(requirement: str) -> str:
    """``'setuptools>=64,<81'`` to ``'setuptools'``."""
    return canonical(re.split(r'[<>=!~\[; ]', requirement, maxsplit=1)[0])
