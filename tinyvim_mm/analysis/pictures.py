"""Photographs, all of one size."""

from pathlib import Path
from typing import List, Sequence, Tuple, Union

import numpy as np

from ..core.errors import UsageError
from ..inference.sources import UnreadableError, find_sources, is_video, read_frames


def load_pictures(
    paths: Sequence[Union[str, Path]], size: Tuple[int, int], limit: int
) -> Tuple[List[str], List[np.ndarray]]:
    """Read the first pictures, scale them to cover a size, and crop their centers.

    Returns:
        Names of the files, and RGB images ``(H, W, 3)``, uint8.

    Raises:
        UsageError: There are none, or one cannot be read.
    """
    files: List[Path] = []
    for path in paths:
        files += [file for file in find_sources(Path(path)) if not is_video(file)]
    if not files:
        raise UsageError(f'no pictures in {", ".join(map(str, paths))}')
    files = files[:limit]
    return [file.name for file in files], [_read(file, size) for file in files]


def _read(file: Path, size: Tuple[int, int]) -> np.ndarray:
    import cv2

    try:
        ((_, image),) = read_frames(file)
    except UnreadableError as error:
        raise UsageError(f'{file} cannot be read: {error}') from error
    scale = max(size[0] / image.shape[0], size[1] / image.shape[1])
    # At least the size: rounding may lose a pixel.
    height, width = (max(round(image.shape[i] * scale), size[i]) for i in (0, 1))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, (width, height), interpolation=method)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return np.ascontiguousarray(image[top : top + size[0], left : left + size[1], ::-1])
