"""Pascal VOC: ``Annotations/*.xml`` and ``JPEGImages``, with lists in ``ImageSets/Main``."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from ..dataset import Box, Data, Faults, Picture, pictures_in, read_names, split_of

NAME = 'Pascal VOC XML'


def matches(root: Path) -> bool:
    return root.is_dir() and next((root / 'Annotations').rglob('*.xml'), None) is not None


def read(root: Path, names: Optional[List[str]], faults: Faults) -> Data:
    """Read every annotation file; splits are those of ``ImageSets/Main``, if there are any."""
    splits = _splits(root)
    by_stem = {file.stem: file for file in pictures_in(root) if 'Seg' not in file.parent.name}
    own = next((root / n for n in ('classes.txt', 'labels.txt') if (root / n).is_file()), None)
    given = names or (read_names(own) if own else None)
    trees = {}
    for file in sorted((root / 'Annotations').rglob('*.xml')):
        try:
            trees[file] = ElementTree.parse(file).getroot()
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            faults.add('annotation file that is no XML: left out', f'{file.name}: {error}')
    found = {o.findtext('name', '').strip() for tree in trees.values() for o in tree.iter('object')}
    classes = given or sorted(found - {''})
    if not given:
        faults.note(f'the classes are the names that occur: {", ".join(classes)}')
    data = Data(root, NAME, 'detect', classes, [])
    for file, tree in trees.items():
        stem = Path(tree.findtext('filename') or file.name).stem
        path = by_stem.get(file.stem) or by_stem.get(stem)
        if path is None:
            faults.add('picture does not exist: left out', f'{file.name}: {stem}')
            continue
        if splits and file.stem not in splits:
            faults.add('picture in none of the lists of ImageSets: left out', file.stem)
            continue
        by_stem[path.stem] = path
        picture = Picture(path, splits.get(file.stem, ''))
        picture.size = _size(tree)
        picture.boxes = _boxes(tree, file, classes, faults)
        data.pictures.append(picture)
    annotated = {picture.file for picture in data.pictures}
    for path in sorted(set(by_stem.values()) - annotated):
        if path.stem not in splits and splits:
            continue
        if not any(file.stem == path.stem for file in trees):
            faults.add('picture without an annotation file: left out', path.name)
    return data


def _splits(root: Path) -> Dict[str, str]:
    splits: Dict[str, str] = {}
    for file in sorted((root / 'ImageSets' / 'Main').glob('*.txt')):
        name = split_of(file.stem)
        # Lists of single classes are called cat_train.txt.
        if name and file.stem.lower() in ('train', 'val', 'valid', 'test'):
            splits.update((line.split()[0], name) for line in read_names(file))
    return splits


def _size(tree: ElementTree.Element) -> Optional[Tuple[int, int]]:
    """Width and height, if they are told."""
    try:
        width, height = (int(float(tree.findtext(f'size/{k}') or 0)) for k in ('width', 'height'))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width and height else None


def _boxes(tree: ElementTree.Element, file: Path, classes: List[str], faults: Faults) -> List[Box]:
    boxes = []
    for number, item in enumerate(tree.iter('object'), 1):
        name = (item.findtext('name') or '').strip()
        where = f'{file.name}, object {number}'
        if name not in classes:
            faults.add('unknown class: left out', f'{where}: {name!r}')
            continue
        try:
            corners = [
                float(item.findtext(f'bndbox/{k}')) for k in ('xmin', 'ymin', 'xmax', 'ymax')
            ]
        except (TypeError, ValueError):
            faults.add('object without a box of 4 numbers: left out', where)
            continue
        left, top, right, bottom = corners
        # VOC counts pixels from 1, and its boxes hold the last one.
        boxes.append(
            Box(classes.index(name), left - 1, top - 1, right - left + 1, bottom - top + 1)
        )
    return boxes
