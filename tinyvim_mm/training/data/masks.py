"""Whether an outline or a run-length encoding can be drawn.

pycocotools draws what it is given: a point that is no number, or far away, ends the process.
"""

from numbers import Integral, Real
from typing import Any

import numpy as np

#: Points may lie so many widths or heights of the picture away from it.
_FARTHEST = 10


def fault_of_mask(mask: Any, width: int, height: int) -> str:
    """What is wrong with COCO's ``segmentation`` of an object; an empty string if nothing is.

    Args:
        mask: Polygons, a run-length encoding, or nothing. Datasets of a user's own may have
            arrays in their place.
        width: Of the picture.
        height: Of the picture.
    """
    if isinstance(mask, np.ndarray) or not mask:
        return ''
    if isinstance(mask, dict):
        size, counts = mask.get('size'), mask.get('counts')
        if not (_is_list(size, 2) and all(isinstance(n, Integral) for n in size)):
            return f'has no size of two whole numbers: {size!r:.80}'
        if tuple(size) != (height, width):
            return f'was drawn on {size[1]}x{size[0]} pixels, and the picture has {width}x{height}'
        if isinstance(counts, list):
            right = all(isinstance(n, Integral) and n >= 0 for n in counts)
            if not right or sum(counts) != height * width:
                return f'has run lengths that do not make up {width}x{height} pixels'
        elif not isinstance(counts, (str, bytes)):
            return f'has no run lengths: {counts!r:.80}'
        return ''
    if not isinstance(mask, list):
        return f'is neither a list of outlines nor run lengths: {mask!r:.80}'
    farthest = _FARTHEST * max(width, height)
    for outline in mask:
        if not _is_list(outline):
            return f'has an outline that is no list of points: {outline!r:.80}'
        for value in outline:
            if not isinstance(value, Real) or not -farthest <= value <= farthest:
                return f'has a point at {value!r:.80}, and the picture has {width}x{height} pixels'
    return ''


def _is_list(value: Any, length: int = 0) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) and (not length or len(value) == length)
