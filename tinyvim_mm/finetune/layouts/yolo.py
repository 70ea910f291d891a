"""YOLO's text files: ``images/`` and ``labels/``, a line for each object."""

import math
from pathlib import Path
from typing import List, Optional

from ...core.errors import UsageError
from ...training.data.text import read_text
from ..dataset import Box, Data, Faults, Picture, pictures_in, read_names, split_of

NAME = 'YOLO text files'
_DESCRIPTIONS = ('data.yaml', 'data.yml', 'dataset.yaml')


def matches(root: Path) -> bool:
    return root.is_dir() and (
        any((root / name).is_file() for name in _DESCRIPTIONS)
        or any(next(folder.rglob('*.txt'), None) for folder in root.glob('**/labels'))
    )


def read(root: Path, names: Optional[List[str]], faults: Faults) -> Data:
    """Read every picture below a folder ``images``, and the file of its objects."""
    classes = names or _names(root)
    data = Data(root, NAME, 'detect', classes, [])
    seen = set()
    for file in pictures_in(root):
        parts = list(file.relative_to(root).parts)
        if 'images' not in parts[:-1]:
            continue
        split = split_of(*(part for part in parts[:-1] if part != 'images'))
        place = len(parts) - 2 - parts[:-1][::-1].index('images')
        parts[place] = 'labels'
        labels = (root / Path(*parts)).with_suffix('.txt')
        picture = Picture(file, split)
        seen.add(labels)
        if labels.is_file():
            picture.boxes = _boxes(labels, root, classes, faults)
        else:
            kind = 'picture without a text file of labels: taken for one without objects'
            faults.add(kind, str(file.relative_to(root)))
        data.pictures.append(picture)
    for folder in root.glob('**/labels'):
        for labels in sorted(set(folder.rglob('*.txt')) - seen):
            if labels.name != 'classes.txt':
                faults.add('labels without a picture: left out', str(labels.relative_to(root)))
    return data


def _names(root: Path) -> List[str]:
    for name in _DESCRIPTIONS:
        if (root / name).is_file():
            import yaml

            try:
                found = yaml.safe_load(read_text(root / name))
            except (yaml.YAMLError, ValueError, RecursionError) as error:
                raise UsageError(f'{root / name} is not YAML: {error}') from error
            if not isinstance(found, dict):
                raise UsageError(f'{root / name} has no key: names, a list of the classes')
            found = found.get('names')
            if isinstance(found, dict):
                if set(found) != set(range(len(found))):
                    raise UsageError(
                        f'{root / name}: names are numbered {list(found)}, not 0 to '
                        f'{len(found) - 1}'
                    )
                found = [found[number] for number in sorted(found)]
            if found and not isinstance(found, list):
                raise UsageError(f'{root / name}: names is {found!r:.80}, not a list')
            if found:
                return list(map(str, found))
    for file in (root / 'classes.txt', root / 'labels' / 'classes.txt', root / 'obj.names'):
        if file.is_file():
            return read_names(file)
    raise UsageError(
        f'{root}: the names of the classes are missing: write them into data.yaml (names: [...]) '
        'or, one a line, into classes.txt, or give --classes FILE'
    )


def _boxes(file: Path, root: Path, classes: List[str], faults: Faults) -> List[Box]:
    """Boxes in shares of the picture; the checks, which know its size, turn them into pixels."""
    boxes = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        where = f'{file.relative_to(root)}, line {number}: {line.strip()[:60]}'
        try:
            label, *values = map(float, line.split())
        except ValueError:
            label, values = -1.0, []
        polygon = len(values) >= 6 and len(values) % 2 == 0
        if not (len(values) == 4 or polygon) or not all(map(math.isfinite, (label, *values))):
            faults.add('line that is no class with a box or an outline: left out', where)
            continue
        if label != int(label) or not 0 <= label < len(classes):
            kind = f'unknown class, counted from 0 of {len(classes)}: left out'
            faults.add(kind, where)
            continue
        outline = None
        if polygon:
            xs, ys = values[0::2], values[1::2]
            outline = [values]
            values = [
                (min(xs) + max(xs)) / 2,
                (min(ys) + max(ys)) / 2,
                max(xs) - min(xs),
                max(ys) - min(ys),
            ]
        x, y, width, height = values
        boxes.append(Box(int(label), x - width / 2, y - height / 2, width, height, outline))
    return boxes


def to_pixels(picture: Picture) -> None:
    """Turn shares of a picture, whose size is known, into pixels."""
    width, height = picture.size
    for box in picture.boxes:
        box.x, box.width = box.x * width, box.width * width
        box.y, box.height = box.y * height, box.height * height
        if box.segmentation:
            box.segmentation = [
                [v * (height if i % 2 else width) for i, v in enumerate(polygon)]
                for polygon in box.segmentation
            ]
