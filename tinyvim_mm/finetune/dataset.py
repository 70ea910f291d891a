"""Annotated pictures, whatever layout they came in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ..training.data.tally import Faults as Faults
from ..training.data.text import read_text

#: The names of a part of the data, and what layouts call it.
SPLITS = {
    'train': ('train', 'training', 'train2017'),
    'val': ('val', 'valid', 'validation', 'val2017'),
    'test': ('test', 'testing', 'test2017'),
}
PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
TASKS = ('detect', 'segment', 'classify')


@dataclass
class Box:
    """An object: its class counted from 0, and x, y, width, height in pixels.

    ``segmentation`` is COCO's, polygons or run lengths.
    """

    label: int
    x: float
    y: float
    width: float
    height: float
    segmentation: Any = None
    crowd: bool = False


@dataclass
class Picture:
    """One picture with what it shows.

    Attributes:
        file: The picture.
        split: A key of :data:`SPLITS`, or nothing.
        size: Width and height in pixels that the annotations speak of, if they do; after
            the checks those of the file.
        boxes: For detection.
        label: For classification, counted from 0.
        label_map: For segmentation.
        labels: Classes that occur, counted from 0; for segmentation set by the checks.
    """

    file: Path
    split: str = ''
    size: Optional[Tuple[int, int]] = None
    boxes: List[Box] = field(default_factory=list)
    label: Optional[int] = None
    label_map: Optional[Path] = None
    labels: Tuple[int, ...] = ()
    digest: str = ''

    def classes(self) -> Tuple[int, ...]:
        """The classes that occur, sorted."""
        if self.label is not None:
            return (self.label,)
        return tuple(sorted({box.label for box in self.boxes})) or self.labels


@dataclass
class Data:
    """What was found in a folder: pictures and classes, of one task.

    ``values`` maps the values of label maps to classes, for segmentation.
    """

    root: Path
    layout: str
    task: str
    classes: List[str]
    pictures: List[Picture]
    values: Dict[int, int] = field(default_factory=dict)

    def split(self, name: str) -> List[Picture]:
        """The pictures of one split."""
        return [picture for picture in self.pictures if picture.split == name]

    @property
    def has_masks(self) -> bool:
        """Whether every object has an outline."""
        boxes = [box for picture in self.pictures for box in picture.boxes]
        return bool(boxes) and all(box.segmentation for box in boxes)


def read_names(file: Path) -> List[str]:
    """Class names, one a line; empty lines are left out."""
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]


def split_of(*words: str) -> str:
    """The split that one of these words names, or nothing: ``annotations/val.json`` is val."""
    for word in words:
        for name, words_of in SPLITS.items():
            for known in sorted(words_of, key=len, reverse=True):
                parts = word.lower().replace('-', '_').replace('.', '_').split('_')
                if known in parts or word.lower() == known:
                    return name
    return ''


def pictures_in(folder: Path) -> List[Path]:
    """All pictures below a folder, sorted."""
    found = (file for file in folder.rglob('*') if file.suffix.lower() in PICTURES)
    return sorted(file for file in found if file.is_file())


def picture_size(file: Path, decode: bool) -> Tuple[int, int]:
    """Width and height of a picture as the toolboxes load it, turned as its EXIF data say.

    Raises:
        OSError: It cannot be read; with ``decode`` also where its pixels are damaged.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            if decode:
                image.load()
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(str(error)) from error
    return (height, width) if turned else (width, height)


def read_label_map(file: Path) -> np.ndarray:
    """Values of a label map ``(H, W)``; one with three equal channels counts as one.

    Raises:
        OSError: It cannot be read, or holds colors; the message says so.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            values = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise OSError(f'damaged or no picture ({error})') from error
    if values.ndim == 3:
        if (values[..., :1] != values[..., :3]).any():
            raise OSError('it holds colors, where class numbers are wanted')
        values = values[..., 0]
    return values.astype(np.int64)
