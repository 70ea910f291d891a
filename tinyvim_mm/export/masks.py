"""Masks of detections at the size of their picture, with numpy alone; the results are mmdet's."""

import math
from typing import Tuple

import numpy as np


def paste(
    masks: np.ndarray, boxes: np.ndarray, size: Tuple[int, int], threshold: float
) -> np.ndarray:
    """Bring masks over boxes to a picture, bilinear.

    Args:
        masks: Probabilities over the box of each, ``(n, h, w)``, float32.
        boxes: Corners ``x1, y1, x2, y2`` in pixels of the picture, ``(n, 4)``, float32.
        size: Height and width of the picture.
        threshold: Probability from which a pixel belongs to an object.

    Returns:
        ``(n, *size)``, bool.
    """
    height, width = size
    pasted = np.zeros((len(masks), height, width), bool)
    for target, mask, (x1, y1, x2, y2) in zip(pasted, masks, boxes, strict=True):
        # A pixel more on each side: a mask reaches beyond its box by half of one of its own.
        left, top = (max(math.floor(low) - 1, 0) for low in (x1, y1))
        right, bottom = min(math.ceil(x2) + 1, width), min(math.ceil(y2) + 1, height)
        if left >= right or top >= bottom:
            continue
        rows = _weights(_places(top, bottom, y1, y2, mask.shape[0]), mask.shape[0], False)
        columns = _weights(_places(left, right, x1, x2, mask.shape[1]), mask.shape[1], False)
        target[top:bottom, left:right] = rows @ mask @ columns.T >= threshold
    return pasted


def enlarge(
    logits: np.ndarray,
    stride: int,
    factors: Tuple[float, float],
    size: Tuple[int, int],
    threshold: float,
) -> np.ndarray:
    """Bring masks over a network's input to the picture, bilinear in two steps.

    Args:
        logits: ``(n, h, w)``, float32.
        stride: Pixels of the input for each of a mask.
        factors: Of width and height, by which the picture was resized.
        size: Height and width of the picture.
        threshold: Probability above which a pixel belongs to an object.

    Returns:
        ``(n, *size)``, bool.
    """
    directions = []
    for count, factor, end in zip(logits.shape[1:], factors[::-1], size, strict=True):
        full = count * stride
        to_input = _weights(_resized_places(full, count), count, True)
        whole = math.ceil(full * (1 / factor))
        directions.append(_weights(_resized_places(whole, full)[:end], full, True) @ to_input)
    rows, columns = directions
    masks = np.zeros((len(logits), *size), bool)
    for target, own in zip(masks, logits, strict=True):
        values = rows @ own @ columns.T
        shown = target[: values.shape[0], : values.shape[1]]
        # Far from the border of an object the exponential is infinite, and its inverse right.
        with np.errstate(over='ignore'):
            shown[:] = 1 / (1 + np.exp(-values)) > threshold
    return masks


def _places(start: int, stop: int, low: float, high: float, count: int) -> np.ndarray:
    """Where the pixels from ``start`` to ``stop`` lie in a mask from ``low`` to ``high``."""
    pixels = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    with np.errstate(divide='ignore', invalid='ignore'):
        share = (pixels - np.float32(low)) / np.float32(high - low)
    share[~np.isfinite(share)] = 0.5  # of a box without extent, as mmdet has it
    return share * np.float32(count) - np.float32(0.5)


def _resized_places(end: int, start: int) -> np.ndarray:
    pixels = np.arange(end, dtype=np.float32) + np.float32(0.5)
    return np.maximum(pixels * np.float32(start / end) - np.float32(0.5), 0)


def _weights(places: np.ndarray, count: int, repeats: bool) -> np.ndarray:
    """A matrix that interpolates: ``(len(places), count)``, float32.

    Args:
        places: In pixels of what is interpolated.
        count: How many these are.
        repeats: Whether the last pixel goes on beyond the border, where else there are zeros.
    """
    weights = np.zeros((len(places), count), np.float32)
    near = np.floor(places).astype(np.int64)
    share = places - near
    rows = np.arange(len(places))
    for column, part in ((near, 1 - share), (near + 1, share)):
        inside = np.ones(len(rows), bool) if repeats else (column >= 0) & (column < count)
        column = np.clip(column, 0, count - 1)
        weights[rows[inside], column[inside]] += part[inside]
    return weights
