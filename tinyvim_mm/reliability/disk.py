"""A small file system that is filled up, and freed again."""

import errno
import os
import shutil
from pathlib import Path

#: A file system with more room than this is somebody's disk, and never filled.
MOST_BYTES = 2 * 1024**3
_PIECE = bytes(1024**2)


def is_small(folder: Path) -> bool:
    """Whether the file system of a folder may be filled up."""
    return shutil.disk_usage(folder).total <= MOST_BYTES


class Ballast:
    """A file that takes all the room that is left on a small file system.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Take what is free, to the last byte; again, if something became free meanwhile."""
        if not is_small(self.path.parent):
            raise ValueError(f'{self.path.parent} lies on a large file system, it is not filled')
        with self.path.open('ab', buffering=0) as stream:
            for piece in (_PIECE, _PIECE[:4096], _PIECE[:1]):
                try:
                    while stream.write(piece):
                        pass
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
            os.fsync(stream.fileno())

    def free(self) -> None:
        """Give it back."""
        self.path.unlink(missing_ok=True)
