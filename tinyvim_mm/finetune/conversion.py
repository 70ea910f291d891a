"""Write what the checks left as annotations that the toolboxes read."""

import json
from pathlib import Path
from typing import Any, Dict

import numpy as np

from .checks import IGNORED
from .dataset import SPLITS, Data, Picture, read_label_map

LABEL_MAPS = 'label_maps'


def write_annotations(data: Data, folder: Path) -> None:
    """Write ``train``, ``val`` and, if there are pictures for it, ``test`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        pictures = data.split(split)
        if not pictures:
            continue
        if data.task == 'detect':
            text = json.dumps(_coco(data, split))
            (folder / f'{split}.json').write_text(text + '\n', 'utf-8')
            continue
        lines = []
        for picture in pictures:
            lines.append(_name(data, picture))
            if data.task == 'classify':
                lines[-1] += f' {picture.label}'
            else:
                _write_label_map(data, picture, folder / LABEL_MAPS / f'{lines[-1]}.png')
        (folder / f'{split}.txt').write_text('\n'.join(lines) + '\n', 'utf-8')


def _name(data: Data, picture: Picture) -> str:
    try:
        return picture.file.relative_to(data.root).as_posix()
    except ValueError:
        return picture.file.as_posix()


def _coco(data: Data, split: str) -> Dict[str, Any]:
    images, annotations = [], []
    masks = data.has_masks
    for number, picture in enumerate(data.split(split), 1):
        width, height = picture.size
        name = _name(data, picture)
        images.append(dict(id=number, file_name=name, width=width, height=height))
        for box in picture.boxes:
            place = [round(v, 2) for v in (box.x, box.y, box.width, box.height)]
            annotation = dict(
                id=len(annotations) + 1,
                image_id=number,
                category_id=box.label + 1,
                bbox=place,
                area=round(box.width * box.height, 2),
                iscrowd=int(box.crowd),
            )
            if masks:
                annotation.update(segmentation=box.segmentation, area=_area(box, picture))
            annotations.append(annotation)
    categories = [dict(id=i, name=name) for i, name in enumerate(data.classes, 1)]
    return dict(images=images, annotations=annotations, categories=categories)


def _area(box: Any, picture: Picture) -> float:
    """Pixels of an object, by which COCO's evaluation sorts them into small and large."""
    from pycocotools import mask

    width, height = picture.size
    shape = box.segmentation
    if isinstance(shape, list):
        shape = mask.merge(mask.frPyObjects(shape, height, width))
    elif isinstance(shape['counts'], list):
        shape = mask.frPyObjects(shape, height, width)
    return float(mask.area(shape))


def _write_label_map(data: Data, picture: Picture, file: Path) -> None:
    from PIL import Image

    labels = read_label_map(picture.label_map)
    written = np.full(labels.shape, IGNORED, np.uint8)
    for value, label in data.values.items():
        written[labels == value] = label
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(written).save(file)
