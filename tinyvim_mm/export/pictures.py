"""Pictures: opened, and resized as OpenCV does it, with numpy and Pillow alone.

:class:`.detectors.letterbox.Letterbox` resizes alike, but for the last digit of a weight.
"""

from pathlib import Path
from typing import Tuple, Union

import numpy as np
from PIL import Image, ImageOps

#: A path, a picture, or RGB values ``(H, W, 3)`` of 0 to 255 as uint8.
ImageLike = Union[str, Path, Image.Image, np.ndarray]

# Weights of a resize are 11 bits, of each direction; sums lose 4 bits in between.
_ONE, _BETWEEN, _REST = 2**11, 4, 16


def resize(picture: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Bilinear as in OpenCV, which takes two pixels of each direction however far it shrinks.

    Args:
        picture: ``(H, W, 3)``, uint8.
        size: Height and width of the result.

    Returns:
        ``(*size, 3)``, uint8.
    """
    if picture.shape[:2] == tuple(size):
        return picture
    # OpenCV takes a row of the border twice, with both weights, but a column once.
    (top, bottom, *rows), (left, right, *columns) = (
        _taps(picture.shape[axis], size[axis], once) for axis, once in enumerate((False, True))
    )
    near_row, far_row = (weight[:, None, None] for weight in rows)
    near_column, far_column = (weight[:, None] for weight in columns)
    # Only the rows that are looked at.
    used, places = np.unique(np.concatenate([top, bottom]), return_inverse=True)
    lines = picture[used].astype(np.int32)
    sums = (lines[:, left] * near_column + lines[:, right] * far_column) >> _BETWEEN
    upper, lower = sums[places[: len(top)]], sums[places[len(top) :]]
    values = ((upper * near_row) >> _REST) + ((lower * far_row) >> _REST) + 2 >> 2
    return values.astype(np.uint8)


def _taps(start: int, end: int, once: bool) -> Tuple[np.ndarray, ...]:
    """The two pixels that each of ``end`` lies between in ``start``, and their weights.

    Where both are the same pixel at the border, ``once`` gives the first all the weight.
    """
    place = (2 * np.arange(end) + 1) * start - end
    near = place // (2 * end)
    # OpenCV rounds the place to float32 before it takes the whole pixels off.
    share = (place / (2.0 * end)).astype(np.float32) - near.astype(np.float32)
    if once:
        share[(near < 0) | (near >= start - 1)] = 0
    weights = (np.rint(of * np.float32(_ONE)).astype(np.int32) for of in (1 - share, share))
    return (near.clip(0, start - 1), (near + 1).clip(0, start - 1), *weights)


def open_image(image: ImageLike) -> Image.Image:
    """Bring a path, a picture or an array to an RGB picture, turned as its camera noted.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: An array is not ``(H, W, 3)`` of uint8.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            got = f'{image.shape}, {image.dtype}'
            raise ValueError(f'a picture as an array must be RGB, (H, W, 3), uint8; got {got}')
        return Image.fromarray(image)
    if not isinstance(image, Image.Image):
        image = ImageOps.exif_transpose(Image.open(image))
    return image.convert('RGB')
