"""Comparison of an exported detector with the network that it was made from.

Detections are sets: two numbers that differ in the last digit can change places, and with them
what is suppressed. So those of one are looked for in those of the other.
"""

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping, NamedTuple, Sequence

import numpy as np

from ...core.errors import ExportMismatchError
from ..check import TOLERANCE, load_runner, network_runner
from ..metadata import Metadata

if TYPE_CHECKING:
    from .detector import ExportedDetector

#: Pixels by which a box may lie elsewhere, and by which one is looked for.
BOX_TOLERANCE, REACH = 0.1, 1.0
#: Of the detections, those that have to be found again.
LEAST_FOUND = 0.9

_STRIDE = 32
_THRESHOLD = 'score_threshold'


class Difference(NamedTuple):
    """Of the detections of one network from those of another.

    Attributes:
        count: Detections that are looked for.
        found: Those that are there: the same label within :data:`REACH` pixels.
        box: Largest deviation of a corner of them in pixels.
        score: Largest deviation of their scores.
        mask: Largest deviation of their masks, relative to the largest value.
    """

    count: int
    found: int
    box: float
    score: float
    mask: float


def compare(
    path: Path, truths: Mapping[str, 'ExportedDetector'], meta: Metadata, batch: int
) -> None:
    """Compare with PyTorch on noise, at two batch sizes, and two sizes where the file takes them.

    Noise has few objects: for the comparison every score is high enough.

    Args:
        path: The ``.onnx`` file.
        truths: What it should compute, by name.
        meta: Of the file.
        batch: The smaller of the batch sizes.

    Raises:
        ExportMismatchError: The file finds something else.
    """
    height, width = meta.input_size
    sizes = [(height, width)]
    if meta.dynamic_size or meta.preprocess:
        # Necks that double maps and add them take multiples of their strides.
        step = 1 if meta.preprocess else max(meta.divisor, _STRIDE)
        sizes.append((height + step, width + 2 * step))
    differences = []
    with _without_threshold(path) as open_file:
        run = load_runner(open_file)
        for size in sizes:
            for images in (batch, batch + 2):
                for truth, network in truths.items():
                    inputs = [tensor.numpy() for tensor in network.example(images, size, images)]
                    with _all_scores(network):
                        difference = measure(run(*inputs), network_runner(network)(*inputs))
                    print(f'  {images} x {size[0]} x {size[1]}: {_words(difference, truth)}')
                    differences.append(difference)
    worst = [max(getattr(d, name) for d in differences) for name in ('box', 'score', 'mask')]
    share = sum(d.found for d in differences) / max(sum(d.count for d in differences), 1)
    limits = (BOX_TOLERANCE, TOLERANCE, 10 * TOLERANCE)
    if share < LEAST_FOUND or not all(w <= limit for w, limit in zip(worst, limits, strict=True)):
        raise ExportMismatchError(
            f'the file finds {100 * share:.0f} % of what PyTorch finds, boxes within '
            f'{worst[0]:.1e} pixels, scores within {worst[1]:.1e}, masks within {worst[2]:.1e}; do '
            'not use it. Try another --opset, or leave out --dynamic-size'
        )


def measure(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Difference:
    """How far detections are from others; both as :class:`.ExportedDetector` gives them.

    Raises:
        ExportMismatchError: Number or shapes of outputs differ, or values are not finite.
    """
    shapes = [[output.shape for output in outputs] for outputs in (actual, expected)]
    if shapes[0] != shapes[1]:
        raise ExportMismatchError(f'the file is wrong: shapes {shapes[0]} instead of {shapes[1]}')
    if not all(np.isfinite(output).all() for output in actual):
        raise ExportMismatchError('the file is wrong: values are not finite')
    count, pairs = 0, []
    for image in range(len(expected[0])):
        free = np.flatnonzero(actual[2][image] >= 0).tolist()
        for row in np.flatnonzero(expected[2][image] >= 0):
            count += 1
            place = _nearest(free, actual, expected, image, row)
            if place is not None:
                free.remove(place)
                pairs.append((image, place, row))
    largest = [0.0, 0.0, 0.0]
    for index, output in enumerate((0, 1, 3)):
        if output < len(actual) and pairs:
            own = np.stack([actual[output][image, place] for image, place, _ in pairs])
            other = np.stack([expected[output][image, row] for image, _, row in pairs])
            largest[index] = float(np.abs(own - other).max())
            if output == 3:
                largest[index] /= max(float(np.abs(other).max()), np.finfo(np.float32).tiny)
    return Difference(count, len(pairs), *largest)


def _nearest(
    free: Sequence[int],
    actual: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    image: int,
    row: int,
) -> 'int | None':
    """The row of ``actual`` with the same label whose box is nearest, within the reach."""
    same = [place for place in free if actual[2][image, place] == expected[2][image, row]]
    if not same:
        return None
    far = np.abs(actual[0][image, same] - expected[0][image, row]).max(-1)
    # Boxes may be the same twice: then the score tells.
    far = far + np.abs(actual[1][image, same] - expected[1][image, row])
    return same[int(far.argmin())] if far.min() <= REACH else None


def _words(difference: Difference, truth: str) -> str:
    return (
        f'{difference.found} of {difference.count} detections of {truth} found again, boxes within '
        f'{difference.box:.1e} pixels, scores within {difference.score:.1e}, masks within '
        f'{difference.mask:.1e}'
    )


@contextmanager
def _all_scores(network: 'ExportedDetector') -> Iterator[None]:
    """Let a network find objects of any score."""
    buffer = network.detection_threshold
    before = buffer.clone()
    buffer.fill_(0.0)
    try:
        yield
    finally:
        buffer.copy_(before)


@contextmanager
def _without_threshold(path: Path) -> Iterator[Path]:
    """A copy of a file that finds objects of any score."""
    import onnx

    model = onnx.load(str(path))
    found = [
        entry
        for entry in model.graph.initializer
        if entry.name.endswith(_THRESHOLD) and 'proposals' not in entry.name
    ]
    if not found:
        raise ExportMismatchError(f'{path} has no {_THRESHOLD}; try another version of torch')
    for entry in found:
        entry.CopyFrom(onnx.numpy_helper.from_array(np.float32(0).reshape(entry.dims), entry.name))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        onnx.save(model, str(copy))
        yield copy
