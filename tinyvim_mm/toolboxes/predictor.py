"""What the demo asks of each toolbox, and what several answer alike."""

import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from . import rle
from .common import draw

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor, nn

#: Of a label map over its photograph, which shall be seen below.
OPACITY = 0.6
#: Shorter side of a drawn picture with text on it, at least.
LEAST_SIDE = 400


def describe_labels(labels: np.ndarray, classes: Sequence[str]) -> Dict[str, Any]:
    """The part of the pixels that each class has in ``labels``, ``(H, W)``, the largest first."""
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    order = [int(label) for label in np.argsort(-counts, kind='stable') if counts[label]]
    height, width = labels.shape
    return {
        'height': height,
        'width': width,
        'shares': {classes[i]: round(float(counts[i] / labels.size), 6) for i in order},
    }


def describe_top(
    likeliest: Sequence[Tuple[int, float]], classes: Sequence[str], size: Tuple[int, int]
) -> Dict[str, Any]:
    """The ``likeliest`` classes of a picture, with scores; ``size`` is its height and width."""
    top = [{'class': classes[label], 'label': label, 'score': score} for label, score in likeliest]
    return {'height': size[0], 'width': size[1], 'top': top}


def describe_objects(
    labels: np.ndarray,
    scores: np.ndarray,
    boxes: np.ndarray,
    masks: Optional[np.ndarray],
    classes: Sequence[str],
    size: Tuple[int, int],
) -> Dict[str, Any]:
    """Objects as COCO's results have them: ``bbox`` is x, y, width, height; masks are RLE.

    Args:
        labels: ``(n,)``
        scores: ``(n,)``
        boxes: Corners, ``(n, 4)``.
        masks: ``(n, H, W)``, or ``None``.
        classes: Their names.
        size: Height and width of the picture.
    """
    objects: List[Dict[str, Any]] = []
    rows = zip(labels.tolist(), scores.tolist(), boxes.tolist(), strict=True)
    for label, score, (x1, y1, x2, y2) in rows:
        box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
        objects.append({'class': classes[label], 'label': label, 'score': score, 'bbox': box})
    if masks is not None:
        for item, mask in zip(objects, masks, strict=True):
            item['segmentation'] = rle.encode(mask)
    return {'height': size[0], 'width': size[1], 'objects': objects}


def pack_labels(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """A label map in the smallest type that a picture can have."""
    return labels.astype(np.uint8 if len(classes) <= 256 else np.uint16)


def make_palette(number: int) -> List[Tuple[int, int, int]]:
    """Colors for classes that have none, the same each time."""
    return [tuple(map(int, c)) for c in np.random.RandomState(0).randint(0, 256, (number, 3))]


class Predictor(ABC):
    """An inferencer of a toolbox, with drawing and plain results.

    Args:
        cfg: The config; its test dataset tells names and colors of classes.
        device: Where it runs.
        score_thr: Least score of a detected object.
        top_k: How many classes a classifier names.
    """

    #: Its name in the results.
    task: str
    #: Name of the config.
    name: str = ''

    def __init__(self, cfg: 'Config', device: str, score_thr: float = 0.3, top_k: int = 5) -> None:
        from mmengine.registry import DATASETS

        self.inferencer = self.make_inferencer(cfg, device)
        self.score_thr = score_thr
        self.top_k = top_k
        self.classes: Sequence[str] = ()
        with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
            dataset = registry.get(cfg.test_dataloader.dataset.type)
        self._dataset_meta: Mapping[str, Any] = getattr(dataset, 'METAINFO', {})

    @staticmethod  # noqa: B027 - most change nothing
    def fit_config(cfg: 'Config', state: Mapping[str, 'Tensor']) -> None:
        """Change in a config what the weights tell, before the network is built."""

    @abstractmethod
    def make_inferencer(self, cfg: 'Config', device: str) -> Any:
        """Build the inferencer of OpenMMLab, without weights; it holds a ``model``."""

    @property
    def model(self) -> 'nn.Module':
        """The network."""
        return self.inferencer.model

    @property
    def settings(self) -> Dict[str, Any]:
        """Options that decide what is in the results."""
        return {}

    def name_classes(self, meta: Mapping[str, Any]) -> None:
        """Take ``classes`` and ``palette`` from a checkpoint, else from the config's dataset."""
        known = {**self._dataset_meta, **meta}
        number = self.num_classes()
        classes = known.get('classes') or ()
        if number is not None and len(classes) != number:
            if classes:
                print(
                    f'The network tells {number} classes apart, and {len(classes)} are named: they '
                    'are numbered instead.',
                    file=sys.stderr,
                )
            classes = [f'class {index}' for index in range(number)]
        self.classes = tuple(str(name).strip() for name in classes)
        palette = known.get('palette')
        enough = isinstance(palette, (list, tuple)) and len(palette) >= len(self.classes)
        self.use_names([tuple(color) for color in palette] if enough else None)

    @abstractmethod
    def num_classes(self) -> Optional[int]:
        """How many classes the network distinguishes, if it tells."""

    @abstractmethod
    def use_names(self, palette: Optional[Sequence[tuple]]) -> None:
        """Let the visualizer know :attr:`classes`, and the colors if there are any."""

    @abstractmethod
    def predict(self, image: np.ndarray) -> Any:
        """The toolbox's data sample for ``(H, W, 3)``, uint8, in OpenCV's order of channels."""

    @abstractmethod
    def draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        """Draw a prediction; images in OpenCV's order of channels."""

    def draw_over(self, image: np.ndarray, sample: Any, **settings: Any) -> np.ndarray:
        """Draw with the inferencer's visualizer; ``settings`` are more arguments of it."""
        picture = np.ascontiguousarray(image[..., ::-1])
        visualizer = self.inferencer.visualizer
        return draw(visualizer, 'demo', picture, sample, truth=False, **settings)[..., ::-1]

    @abstractmethod
    def describe(self, sample: Any) -> Dict[str, Any]:
        """A prediction in plain values."""

    def label_map(self, sample: Any) -> Optional[np.ndarray]:
        """A class for each pixel, ``(H, W)``, if that is what is predicted."""
        return None
