"""Detections in pictures with an exported detector, without PyTorch."""

from typing import TYPE_CHECKING, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import masks as mask_ops
from .metadata import ExportedFileError
from .pictures import resize

if TYPE_CHECKING:
    from .metadata import Metadata
    from .runtime import Runner


# No file of this project has as many; they get names one by one.
_MOST_CLASSES = 2**16


class Detections(NamedTuple):
    """Objects of a picture, the best first.

    Attributes:
        boxes: Corners ``x1, y1, x2, y2`` in pixels of the picture, ``(n, 4)``, float32.
        scores: ``(n,)``, float32.
        labels: ``(n,)``, int64.
        masks: ``(n, H, W)`` at the size of the picture, bool; ``None`` if there are none.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: Optional[np.ndarray]


class Inputs(NamedTuple):
    """A picture as a detector takes it.

    Attributes:
        arrays: The file's inputs.
        factors: Of width and height, by which the picture is resized.
    """

    arrays: Tuple[np.ndarray, ...]
    factors: Tuple[float, float]


def detect(runner: 'Runner', picture: np.ndarray, score_thr: float) -> Detections:
    """Detections with scores above ``score_thr`` of a picture, ``(H, W, 3)``, RGB, uint8."""
    meta = runner.metadata
    inputs = fit(meta, picture)
    if meta.preprocess:  # what the file makes of the picture has to be possible, too
        runner.check_size(*_canvas(meta, _resized(meta, picture.shape[:2])))
    outputs = runner.run(*inputs.arrays)
    _check(outputs, meta)
    boxes, scores, labels, *masks = (output[0] for output in outputs)
    keep = (labels >= 0) & (scores > score_thr)
    boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
    if not meta.preprocess:
        boxes = boxes / np.tile(np.float32(inputs.factors), 2)
    if not meta.masks:
        return Detections(boxes, scores, labels, None)
    own, size = masks[0][keep], picture.shape[:2]
    if meta.masks == 'box':
        full = mask_ops.paste(own, boxes, size, meta.mask_threshold)
    else:
        full = mask_ops.enlarge(own, meta.mask_stride, inputs.factors, size, meta.mask_threshold)
    return Detections(boxes, scores, labels, full)


def _check(outputs: Sequence[np.ndarray], meta: 'Metadata') -> None:
    """Raise unless a file gives what it says: it may be of anybody."""
    names = ('boxes', 'scores', 'labels', 'masks')[: 4 if meta.masks else 3]
    fits = len(outputs) == len(names) and all(len(output) == 1 for output in outputs)
    if fits:
        boxes, scores, labels, *masks = outputs
        fits = boxes.ndim == 3 and boxes.shape[2] == 4
        fits = fits and scores.shape == labels.shape == boxes.shape[:2]
        fits = fits and all(m.ndim == 4 and m.shape[:2] == labels.shape for m in masks)
        fits = fits and labels.dtype.kind == 'i' and labels.max(initial=0) < _MOST_CLASSES
        fits = fits and all(np.isfinite(output).all() for output in (boxes, scores, *masks))
    if not fits:
        got = ', '.join(f'{output.dtype} {output.shape}' for output in outputs)[:200]
        raise ExportedFileError(f'the file does not give {", ".join(names)}, but: {got}')


def fit(meta: 'Metadata', picture: np.ndarray) -> Inputs:
    """A picture, ``(H, W, 3)``, RGB, uint8, as the config's tests bring it to the network."""
    size = _resized(meta, picture.shape[:2])
    factors = (size[1] / picture.shape[1], size[0] / picture.shape[0])
    if meta.preprocess:
        return Inputs((picture[None],), factors)
    height, width = _canvas(meta, size)
    filling: Sequence[float] = meta.padding or (0, 0, 0)
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = np.float32(filling)
    canvas[: size[0], : size[1]] = resize(picture, size)
    images = (canvas - np.float32(meta.mean)) / np.float32(meta.std)
    if meta.padding is None:
        images[size[0] :] = 0
        images[:, size[1] :] = 0
    else:
        size = (height, width)
    images = np.ascontiguousarray(images.transpose(2, 0, 1)[None])
    return Inputs((images, np.float32([size])), factors)


def _resized(meta: 'Metadata', shape: Tuple[int, int]) -> Tuple[int, int]:
    """Height and width of a resized picture."""
    fixed = not meta.dynamic_size or meta.padding is not None or not meta.keep_ratio
    if not meta.keep_ratio:
        return meta.input_size
    if fixed:
        factor = min(end / start for end, start in zip(meta.input_size, shape, strict=True))
    else:
        long, short = meta.resize or (max(meta.input_size), min(meta.input_size))
        factor = min(long / max(shape), short / min(shape))
    # Rounded as mmcv does it.
    return tuple(max(1, int(side * factor + 0.5)) for side in shape)


def _canvas(meta: 'Metadata', size: Tuple[int, int]) -> Tuple[int, int]:
    """Height and width of the input for a resized picture."""
    if not meta.dynamic_size or meta.padding is not None:
        return meta.input_size
    return tuple(-(-side // meta.divisor) * meta.divisor for side in size)
