"""Logs that cannot be written are no reason to lose a training: one line says so."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from mmengine.visualization import LocalVisBackend, Visualizer

from ..core.paths import shown
from .work_dir import FULL, reason


def guard_log(logger: logging.Logger) -> None:
    """Let the handlers of a log take any character, and tell once when they fail.

    mmengine opens the file in the encoding of the locale, and ``logging`` prints a traceback for
    every line that cannot be written.
    """
    for handler in logger.handlers:
        handler.handleError = _TellOnce(handler)  # type: ignore[method-assign]
        if isinstance(handler, logging.FileHandler):
            handler.close()
            # As file names are decoded; in another encoding, that they can be.
            handler.encoding, handler.errors = 'utf-8', 'surrogateescape'
            handler.stream = handler._open()


def guard_scalars(visualizer: Visualizer, logger: logging.Logger) -> None:
    """Let a training go on whose ``scalars.json`` finds the disk full, and tell once."""
    for backend in visualizer._vis_backends.values():
        if isinstance(backend, LocalVisBackend):
            backend._dump = _Scalars(backend._dump, logger)  # type: ignore[method-assign]


class _TellOnce:
    def __init__(self, handler: logging.Handler) -> None:
        self.name = getattr(handler, 'baseFilename', None) or 'the screen'
        self.told = False

    def __call__(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not self.told:
            self.told = True
            print(f'the log on {self.name} cannot be written: {error}', file=sys.stderr)


class _Scalars:
    """Appends a line, or nothing: whoever reads the file could not pass over half a line."""

    def __init__(self, dump: Any, logger: logging.Logger) -> None:
        self.dump = dump
        self.logger = logger
        self.told = False

    def __call__(self, values: dict, file: str, file_format: str) -> None:
        size = os.path.getsize(file) if os.path.isfile(file) else 0
        try:
            self.dump(values, file, file_format)
        except OSError as error:
            if error.errno not in FULL:
                raise
            if os.path.isfile(file):
                os.truncate(file, size)
            if not self.told:
                self.told = True
                path = Path(file)
                self.logger.warning(
                    f'{shown(path)} cannot be written: {reason(error, path.parent)}; steps will be '
                    'missing there, and the training goes on'
                )
