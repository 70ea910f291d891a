"""COCO's JSON files, one for each split."""

import contextlib
from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Optional

from ...core.errors import UsageError
from ...training.data.coco import SECTIONS, check_content, of_another_type
from ...training.data.faults import is_inside
from ...training.data.text import read_json
from ..dataset import Box, Data, Faults, Picture, pictures_in, split_of

NAME = 'COCO JSON'
#: What can be an id; some programs write 1.0 for 1.
_IDS = (int, float, str)
_NO_OBJECT = 'annotation of a class that the file does not list: left out'


def matches(root: Path) -> bool:
    return bool(_files(root))


def read(root: Path, names: Optional[List[str]], faults: Faults) -> Data:
    """Read all files; ``names`` are the classes that count, by default those of the files."""
    contents = {file: read_json(file) for file in _files(root)}
    for file, content in contents.items():
        check_content(content, file, image=('file_name',))
    listed = [c['name'] for content in contents.values() for c in _categories(content)]
    classes = names or list(dict.fromkeys(map(str, listed)))
    folder = root.parent if root.is_file() else root
    if folder.name == 'annotations':
        folder = folder.parent
    finder = _Finder(folder)
    data = Data(folder, NAME, 'detect', classes, [])
    used: Dict[str, Path] = {}
    for file, content in contents.items():
        split = split_of(file.stem, file.parent.name) if len(contents) > 1 else ''
        if len(contents) > 1 and (not split or split in used):
            other = f', as {used[split]} is' if split else ''
            raise UsageError(
                f'{file}: its name does not say which split it is{other}. Have one file for each '
                'of train, val and test (instances_train.json ...), or name a single file'
            )
        used[split] = file
        data.pictures += _pictures(content, file, split, classes, finder, faults)
    return data


def misfits(root: Path) -> List[str]:
    """What JSON files of a folder lack, of which some look as if they were meant to be read."""
    faults = []
    for file in [*root.glob('*.json'), *root.glob('*/*.json')]:
        try:
            content = read_json(file)
            if isinstance(content, dict) and set(SECTIONS) & set(content):
                check_content(content, file, image=('file_name',))
        except UsageError as error:
            faults.append(str(error))
    return faults


def _categories(content: dict) -> List[dict]:
    categories = content['categories']
    # Roboflow writes a category for all others, which no object has.
    parents = {str(c.get('supercategory')) for c in categories}
    numbers = [a.get('category_id') for a in content['annotations']]
    used = {number for number in numbers if isinstance(number, _IDS)}
    return [c for c in categories if c['id'] in used or str(c['name']) not in parents]


def _files(root: Path) -> List[Path]:
    if root.is_file():  # what it lacks is said when it is read
        return [root] if root.suffix == '.json' else []
    files = [*root.glob('*.json'), *root.glob('*/*.json')]
    files = sorted(file for file in files if _is_coco(file))
    # COCO has captions and keypoints beside them.
    named = [file for file in files if file.name.startswith('instances_')]
    return named or files


def _is_coco(file: Path) -> bool:
    try:
        content = read_json(file)
    except UsageError:
        return False
    return isinstance(content, dict) and set(content) >= set(SECTIONS)


def _pictures(
    content: dict,
    file: Path,
    split: str,
    classes: List[str],
    finder: '_Finder',
    faults: Faults,
) -> List[Picture]:
    labels = {c['id']: str(c['name']) for c in content['categories']}
    by_image: Dict[object, List[dict]] = defaultdict(list)
    known = {image['id'] for image in content['images']}
    for annotation in content['annotations']:
        id_ = annotation.get('image_id')
        if not isinstance(id_, _IDS) or id_ not in known:
            faults.add(
                'annotation of a picture that the file does not list: left out',
                f'{file.name}: annotation {annotation.get("id")!r:.80}, image_id {id_!r:.80}'
                + of_another_type(id_, known),
            )
        else:
            by_image[id_].append(annotation)
    pictures = []
    for image in content['images']:
        name = str(image['file_name'])
        path = finder.find(name, file, split)
        if path and not is_inside(path, finder.root):
            kind = 'picture outside of the folder of the data: left out'
            faults.add(kind, f'{file.name}: {name:.200}')
            continue
        if path is None:
            faults.add('picture does not exist: left out', f'{file.name}: {name:.200}')
            continue
        picture = Picture(path, split)
        if image.get('width') and image.get('height'):
            picture.size = (int(image['width']), int(image['height']))
        for annotation in by_image[image['id']]:
            number = annotation.get('category_id')
            label = labels.get(number) if isinstance(number, _IDS) else None
            where = f'{file.name}: annotation {annotation.get("id")} of {name}'
            if label is None or label not in classes:
                faults.add(_NO_OBJECT, f'{where}: category {label or number!r:.80}')
                continue
            box = annotation.get('bbox')
            if not isinstance(box, list) or len(box) != 4:
                faults.add('annotation without a box of 4 numbers: left out', f'{where}: {box}')
                continue
            segmentation = annotation.get('segmentation') or None
            crowd = bool(annotation.get('iscrowd'))
            picture.boxes.append(Box(classes.index(label), *box, segmentation, crowd))
        pictures.append(picture)
    return pictures


class _Finder:
    """Finds the files of pictures: as the JSON file says, or below the folder by their names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_name: Dict[str, List[Path]] = defaultdict(list)
        for file in pictures_in(root):
            self._by_name[file.name].append(file)

    def find(self, name: str, annotations: Path, split: str) -> Optional[Path]:
        for folder in (annotations.parent, self.root):
            with contextlib.suppress(OSError):  # names that no file can have
                if (folder / name).is_file():
                    return folder / name
        parts = Path(name.replace('\\', '/')).parts
        if not parts:
            return None
        found = self._by_name[parts[-1]]
        # The same name may be in the folders of several splits.
        in_split = [f for f in found if split_of(*f.relative_to(self.root).parts[:-1]) == split]
        found = in_split or found
        nested = [f for f in found if f.parts[-len(parts) :] == parts]
        found = nested or found
        return found[0] if len(found) == 1 else None
