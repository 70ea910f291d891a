"""Exported classifiers, segmentors and detectors; neither torch nor a toolbox is needed."""

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import numpy as np

from ..core.errors import UsageError
from ..toolboxes.predictor import (
    LEAST_SIDE,
    OPACITY,
    describe_labels,
    describe_objects,
    describe_top,
    make_palette,
    pack_labels,
)
from .sources import UnreadableError

if TYPE_CHECKING:
    from ..export.detection import Detections

SUFFIX = '.onnx'

# Labels of smaller parts of a picture would only hide it.
_LEAST_SHARE = 0.01


class ExportedPredictor:
    """Does what a :class:`~.predictor.Predictor` does, with a file of ``tools/export.py``.

    Raises:
        UsageError: The file cannot be used.
    """

    def __init__(self, path: str, top_k: int = 5, score_thr: float = 0.3) -> None:
        from ..export.runtime import Runner

        try:
            self.runner = Runner(path)
        except (OSError, ImportError, ValueError, RuntimeError) as error:
            raise UsageError(f'{path} cannot be used: {error}') from error
        tasks = {
            'classifier': 'classification',
            'segmentor': 'segmentation',
            'detector': 'detection',
        }
        meta = self.runner.metadata
        if meta.part not in tasks:
            raise UsageError(
                f'{path} holds a {meta.part}, which finds nothing by itself; the demo '
                f'runs exported files with a classifier, segmentor or detector'
            )
        self.path, self.task = path, tasks[meta.part]
        self.name: str = meta.config
        self.classes: Tuple[str, ...] = tuple(name.strip() for name in meta.classes)
        self._top, self._score_thr = top_k, score_thr
        #: Options that decide what is in the results.
        self.settings: Dict[str, Any] = {
            'classification': {'top_k': top_k},
            'segmentation': {},
            'detection': {'score_threshold': score_thr},
        }[self.task]

    def predict(self, image: np.ndarray) -> Any:
        """Run the network on ``(H, W, 3)``, uint8, in OpenCV's order of channels.

        Raises:
            UnreadableError: The file takes no picture of this size.
            ExportedFileError: It computes something else than it says.
        """
        from ..export.metadata import ExportedFileError

        try:
            return self._predict(image)
        except ExportedFileError:
            raise
        except ValueError as error:
            raise UnreadableError(str(error)) from error
        except (IndexError, TypeError, AttributeError) as error:
            raise ExportedFileError(
                f'{self.path} holds no {self.runner.metadata.part}: {error}'
            ) from error

    def _predict(self, image: np.ndarray) -> Any:
        picture = np.ascontiguousarray(image[..., ::-1])
        if self.task == 'classification':
            top = self.runner.classify(picture, self._top)
            return image.shape[:2], [(label, score) for label, _, score in top]
        if self.task == 'detection':
            found = self.runner.detect(picture, self._score_thr)
            self._number_classes(int(found.labels.max(initial=-1)) + 1)
            return image.shape[:2], found
        labels = self.runner.segment(picture)
        self._number_classes(int(labels.max()) + 1)
        return labels

    def draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        """Draw a prediction; images in OpenCV's order of channels."""
        if self.task == 'classification':
            return _draw_top(image, self.describe(sample)['top'])
        if self.task == 'detection':
            return _draw_objects(image, sample[1], self.classes)
        return _draw_labels(image, sample, self.classes)

    def describe(self, sample: Any) -> Dict[str, Any]:
        """A prediction in plain values."""
        if self.task == 'classification':
            size, likeliest = sample
            self._number_classes(max(label for label, _ in likeliest) + 1)
            return describe_top(likeliest, self.classes, size)
        if self.task == 'detection':
            size, found = sample
            numbers = (found.labels, found.scores, found.boxes)
            return describe_objects(*numbers, found.masks, self.classes, size)
        return describe_labels(sample, self.classes)

    def label_map(self, sample: Any) -> Optional[np.ndarray]:
        """A class for each pixel, of a segmentor."""
        return pack_labels(sample, self.classes) if self.task == 'segmentation' else None

    def _number_classes(self, least: int) -> None:
        """Name classes of which the file knows no names."""
        more = range(len(self.classes), least)
        self.classes += tuple(f'class {index}' for index in more)


def _draw_top(image: np.ndarray, top: List[Dict[str, Any]]) -> np.ndarray:
    import cv2

    factor = max(1.0, LEAST_SIDE / min(image.shape[:2]))
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    for row, item in enumerate(top):
        _write(image, f'{item["score"]:.2f} {item["class"].split(",")[0]}', (8, 24 + 24 * row))
    return image


def _draw_labels(image: np.ndarray, labels: np.ndarray, classes: Tuple[str, ...]) -> np.ndarray:
    palette = np.array(make_palette(max(len(classes), 256)), np.float32)
    drawn = (1 - OPACITY) * image + OPACITY * palette[labels]
    drawn = np.ascontiguousarray(drawn.round().astype(np.uint8))
    for label in np.unique(labels):
        rows, columns = np.nonzero(labels == label)
        if len(rows) >= _LEAST_SHARE * labels.size:
            place = (max(0, int(np.median(columns)) - 20), int(np.median(rows)))
            _write(drawn, classes[label], place)
    return drawn


def _draw_objects(image: np.ndarray, found: 'Detections', classes: Tuple[str, ...]) -> np.ndarray:
    """Boxes with names and scores, the best on top, over masks."""
    import cv2

    palette = make_palette(max(len(classes), 1))
    drawn = image.copy()
    order = range(len(found.labels) - 1, -1, -1)
    for row in order if found.masks is not None else ():
        color, mask = np.float32(palette[found.labels[row]]), found.masks[row]
        mixed = (1 - OPACITY) * drawn[mask] + OPACITY * color
        drawn[mask] = mixed.round().astype(np.uint8)
    for row in order:
        x1, y1, x2, y2 = (round(float(value)) for value in found.boxes[row])
        label = int(found.labels[row])
        cv2.rectangle(drawn, (x1, y1), (x2, y2), palette[label], 2)
        _write(drawn, f'{classes[label]} {found.scores[row]:.2f}', (x1 + 2, max(y1, 0) + 18))
    return drawn


def _write(image: np.ndarray, text: str, place: Tuple[int, int]) -> None:
    """White letters with a dark rim, in place."""
    import cv2

    font = cv2.FONT_HERSHEY_SIMPLEX
    for color, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(image, text, place, font, 0.6, color, thickness, cv2.LINE_AA)
