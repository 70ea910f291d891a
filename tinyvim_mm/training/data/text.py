"""Text and JSON that others wrote: read, or refused with the place of the fault."""

import json
from pathlib import Path
from typing import Any, Union

from ...core.errors import UsageError


def read_text(file: Path) -> str:
    """The text of a file.

    Raises:
        UsageError: It cannot be read, or is not UTF-8.
    """
    try:
        return file.read_text('utf-8')
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(fault_of_text(file, error)) from error


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UsageError: It cannot be read, is not UTF-8, or not JSON.
    """
    try:
        return json.loads(file.read_text('utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(fault_of_text(file, error)) from error


def fault_of_text(file: Union[Path, str], error: Exception) -> str:
    """What an error says of the file that was being read as text or JSON."""
    if isinstance(error, UnicodeDecodeError):
        at = f'byte {error.start} is 0x{error.object[error.start]:02x}'
        return f'{file} is not UTF-8 text ({at}); save it as UTF-8'
    if isinstance(error, json.JSONDecodeError):
        return f'{file} is not JSON: {error}; it may be cut off, or another kind of file'
    if isinstance(error, RecursionError):
        return f'{file} is nested too deeply, as no file of annotations is'
    if isinstance(error, OSError):
        return f'{file} cannot be read: {error.strerror or error}'
    return f'{file} cannot be read: {error}'
