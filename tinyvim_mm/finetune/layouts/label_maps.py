"""Pictures and label maps: ``images/`` and ``annotations/`` or ``masks/``, paired by name."""

from pathlib import Path
from typing import Dict, List, Optional

from ..dataset import Data, Faults, Picture, pictures_in, read_names, split_of

NAME = 'pairs of image and label map'
_IMAGES = ('images', 'image', 'imgs', 'img', 'JPEGImages', 'img_dir')
_MAPS = (
    'annotations',
    'masks',
    'mask',
    'label_maps',
    'labels',
    'segmentation',
    'SegmentationClass',
    'ann_dir',
)
#: What names of label maps have behind those of their pictures.
_ENDINGS = ('', '_mask', '_seg', '_label', '_labels', '_gt', '_labelIds', '_labelTrainIds')


def matches(root: Path) -> bool:
    images, maps = _folder(root, _IMAGES), _folder(root, _MAPS)
    return bool(images and maps and pictures_in(images) and next(maps.rglob('*.png'), None))


def read(root: Path, names: Optional[List[str]], faults: Faults) -> Data:
    """Pair them; classes are named by ``names``, ``classes.txt``, or else by their values."""
    images, maps = _folder(root, _IMAGES), _folder(root, _MAPS)
    own = root / 'classes.txt'
    names = names or (read_names(own) if own.is_file() else None)
    data = Data(root, NAME, 'segment', names or [], [])
    by_name: Dict[Path, Path] = {}
    for file in pictures_in(maps):
        by_name[file.relative_to(maps).with_suffix('')] = file
    paired = set()
    for file in pictures_in(images):
        name = file.relative_to(images).with_suffix('')
        found = [by_name.get(name.with_name(name.name + ending)) for ending in _ENDINGS]
        label_map = next(filter(None, found), None)
        if label_map is None:
            faults.add('picture without a label map: left out', str(file.relative_to(root)))
            continue
        paired.add(label_map)
        split = split_of(*file.relative_to(images).parts[:-1])
        data.pictures.append(Picture(file, split, label_map=label_map))
    for file in sorted(set(by_name.values()) - paired):
        faults.add('label map without a picture: left out', str(file.relative_to(root)))
    return data


def _folder(root: Path, names: tuple) -> Optional[Path]:
    return next((root / name for name in names if (root / name).is_dir()), None)
