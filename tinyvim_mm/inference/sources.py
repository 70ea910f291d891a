"""Find pictures and videos, and read them."""

import difflib
import struct
import warnings
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from ..core.errors import UsageError
from ..core.paths import is_utf8
from ..training.data.faults import fault_of_file

PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')
_KNOWN = f'pictures ({", ".join(PICTURES)}) and videos ({", ".join(VIDEOS)})'


#: One file or folder, or several.
Inputs = Union[str, Path, Sequence[Union[str, Path]]]

#: Larger pictures are not decoded: what they take of memory no network makes use of.
MOST_PIXELS = 100_000_000
#: A short side of one pixel would be enlarged to a few hundred, and the long one with it.
MOST_RATIO = 100


#: What Pillow raises of headers that are damaged.
_DAMAGED = (ValueError, SyntaxError, EOFError, LookupError, ArithmeticError, struct.error)


class UnreadableError(Exception):
    """A file of which nothing can be predicted, in words; the others are not concerned."""


def is_video(file: Path) -> bool:
    """Whether a file, by its name, has frames."""
    return file.suffix.lower() in VIDEOS


def find_sources(paths: Inputs) -> List[Path]:
    """The pictures and videos of files and folders; those of a folder sorted, without subfolders.

    Raises:
        UsageError: There is no such path, or nothing of the kind in it.
    """
    sources: Dict[Path, None] = {}
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        try:
            sources.update(dict.fromkeys(_find_sources(Path(path))))
        except OSError as error:  # no permission, a name that no file can have
            raise UsageError(f'{path} cannot be read: {error.strerror or error}') from error
    return list(sources)


def _find_sources(path: Path) -> List[Path]:
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix.lower() in PICTURES + VIDEOS)
        if not files:
            raise UsageError(f'the folder {path} holds no {_KNOWN.replace(" and ", " or ")}')
        return files
    if path.is_file():
        if path.suffix.lower() not in PICTURES + VIDEOS:
            raise UsageError(f'{path} is of no known type; read are {_KNOWN}')
        return [path]
    if path.is_symlink():
        raise UsageError(f'{path} is a link that leads to nothing, or to itself')
    siblings = [f.name for f in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=3)
    hint = f'; did you mean {", ".join(near)}?' if near else ''
    raise UsageError(f'there is no file or folder {path} (seen from {Path.cwd()}){hint}')


def count_frames(source: Path) -> int:
    """How many frames to expect; containers of videos may be wrong about it."""
    if not is_video(source) or _fault(source):
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

    try:
        fault = _fault(source)
        if fault:
            raise UnreadableError(fault)
        if not is_video(source):
            check_size(*_size_in_header(source))
            image = cv2.imread(str(source), cv2.IMREAD_COLOR)
            if image is None:
                raise UnreadableError('damaged, or no picture')
            check_size(image.shape[1], image.shape[0])
            yield None, image
            return
        reader = cv2.VideoCapture(str(source))
        sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        check_size(*(int(reader.get(side)) for side in sides))
        number = 0
        while True:
            found, image = reader.read()
            if not found:
                break
            yield number, image
            number += 1
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
    except cv2.error as error:
        raise UnreadableError(f'OpenCV cannot decode it: {error.err or error}') from error
    if number == 0:
        raise UnreadableError('damaged, no video, or in a format that this OpenCV cannot decode')


def _fault(source: Path) -> str:
    """What keeps a file from being opened, in words: OpenCV waits for pipes, and worse."""
    try:
        source.stat()  # says more of links and permissions
    except OSError as error:
        return error.strerror or str(error)
    if not is_utf8(source):  # OpenCV ends the process
        return 'its name is not UTF-8, which OpenCV needs; rename it'
    return fault_of_file(str(source))


def check_size(width: int, height: int) -> None:
    """Refuse sizes in pixels that would exhaust the memory here or further on; 0 is not known.

    Raises:
        UnreadableError: It is too large, or too long for its width.
    """
    if width * height > MOST_PIXELS:
        raise UnreadableError(
            f'{width} x {height} pixels are more than {MOST_PIXELS:,}; make it smaller, or cut it'
        )
    if max(width, height) > MOST_RATIO * max(1, min(width, height)):
        raise UnreadableError(
            f'of its {width} x {height} pixels one side is more than {MOST_RATIO} times the other'
        )


def _size_in_header(file: Path) -> Tuple[int, int]:
    """Width and height that a picture claims, before anything of it is decoded; 0 if unknown.

    Only of kinds that Pillow knows, or of TIFF: OpenCV has others, and no bound for them.
    """
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        # Pillow's own limit is lower, and a warning.
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        try:
            with Image.open(file) as picture:
                return picture.size
        except Image.DecompressionBombError as error:
            raise UnreadableError(f'more than {MOST_PIXELS:,} pixels ({error})') from error
        except UnidentifiedImageError:
            return _size_of_tiff(file)
        except _DAMAGED as error:
            raise UnreadableError(f'damaged, or no picture ({error})') from error


def _size_of_tiff(file: Path) -> Tuple[int, int]:
    """Of one whose colors Pillow does not know, as of floating point numbers; OpenCV may."""
    from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, ImageFileDirectory_v2

    try:
        with file.open('rb') as stream:
            tags = ImageFileDirectory_v2(stream.read(8))
            stream.seek(tags.next)
            tags.load(stream)
        return int(tags[IMAGEWIDTH]), int(tags[IMAGELENGTH])
    except (TypeError, *_DAMAGED) as error:
        raise UnreadableError('damaged, or no picture') from error
