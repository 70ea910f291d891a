"""A folder of pictures for each class, with or without folders of splits above them."""

from pathlib import Path
from typing import Dict, List, Optional

from ..dataset import PICTURES, Data, Faults, Picture, pictures_in, split_of

NAME = 'folders of classes'


def matches(root: Path) -> bool:
    folders = _class_folders(root)
    return any(pictures_in(folder) for part in folders.values() for folder in part)


def read(root: Path, names: Optional[List[str]], faults: Faults) -> Data:
    """Read all of them; the classes are the folders of the training pictures, sorted."""
    folders = _class_folders(root)
    trained = folders.get('train') or folders.get('') or next(iter(folders.values()))
    classes = names or sorted(folder.name for folder in trained if pictures_in(folder))
    data = Data(root, NAME, 'classify', classes, [])
    for split, part in folders.items():
        for folder in part:
            files = pictures_in(folder)
            where = str(folder.relative_to(root))
            if not files:
                faults.add('folder without a picture: no class', where)
            elif folder.name not in classes:
                for file in files:
                    kind = 'unknown class, which is none of training: left out'
                    faults.add(kind, str(file.relative_to(root)))
            else:
                label = classes.index(folder.name)
                data.pictures += [Picture(file, split, label=label) for file in files]
            for file in folder.rglob('*'):
                if file.is_file() and file.suffix.lower() not in PICTURES:
                    faults.add('file that is no picture: left out', str(file.relative_to(root)))
    return data


def _class_folders(root: Path) -> Dict[str, List[Path]]:
    """Folders of classes by their split."""
    if not root.is_dir():
        return {}
    inner = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith('.'))
    splits = {split_of(folder.name): folder for folder in inner if split_of(folder.name)}
    if splits:
        return {
            name: sorted(f for f in folder.iterdir() if f.is_dir())
            for name, folder in splits.items()
        }
    return {'': inner}
