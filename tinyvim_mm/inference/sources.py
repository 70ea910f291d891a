"""Find pictures and videos, and read them."""

import difflib
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

import numpy as np

from ..core.errors import UsageError

PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')
_KNOWN = f'pictures ({", ".join(PICTURES)}) and videos ({", ".join(VIDEOS)})'


class UnreadableError(Exception):
    """A file that looks like a picture or video is none."""


def is_video(file: Path) -> bool:
    """Whether a file, by its name, has frames."""
    return file.suffix.lower() in VIDEOS


def find_sources(path: Path) -> List[Path]:
    """The pictures and videos of a file or a folder, sorted; subfolders are not entered.

    Raises:
        UsageError: There is no such path, or nothing of the kind in it.
    """
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix.lower() in PICTURES + VIDEOS)
        if not files:
            raise UsageError(f'the folder {path} holds no {_KNOWN.replace(" and ", " or ")}')
        return files
    if path.is_file():
        if path.suffix.lower() not in PICTURES + VIDEOS:
            raise UsageError(f'{path} is of no known type; read are {_KNOWN}')
        return [path]
    siblings = [f.name for f in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=3)
    hint = f'; did you mean {", ".join(near)}?' if near else ''
    raise UsageError(f'there is no file or folder {path} (seen from {Path.cwd()}){hint}')


def count_frames(source: Path) -> int:
    """How many frames to expect; containers of videos may be wrong about it."""
    if not is_video(source):
        return 1
    import cv2

    return max(int(cv2.VideoCapture(str(source)).get(cv2.CAP_PROP_FRAME_COUNT)), 0)


def read_frames(source: Path) -> Iterator[Tuple[Optional[int], np.ndarray]]:
    """Yield numbers of frames, ``None`` for a picture, and images.

    They are ``(H, W, 3)``, uint8, in OpenCV's order of channels.

    Raises:
        UnreadableError: It holds nothing that can be read.
    """
    import cv2

    if not is_video(source):
        image = cv2.imread(str(source), cv2.IMREAD_COLOR)
        if image is None:
            raise UnreadableError('damaged, or no picture')
        yield None, image
        return
    reader = cv2.VideoCapture(str(source))
    number = 0
    while True:
        found, image = reader.read()
        if not found:
            break
        yield number, image
        number += 1
    if number == 0:
        raise UnreadableError('damaged, no video, or in a format that this OpenCV cannot decode')
