"""The layouts of data that are read: a module each, with ``NAME``, ``matches`` and ``read``."""

from pathlib import Path
from typing import Any, List, Optional

from ...core.errors import UsageError
from ..dataset import Data, Faults, read_names
from . import coco, folders, label_maps, voc, yolo

#: In the order in which they are tried: the more particular first.
LAYOUTS = (coco, voc, yolo, label_maps, folders)
_TASK_OF = {coco: 'detect', voc: 'detect', yolo: 'detect', label_maps: 'segment'}

_DESCRIPTION = """\
  detection:      a COCO JSON file for each split (annotations/*.json), pictures anywhere below
                  images/ and labels/*.txt with data.yaml or classes.txt (YOLO)
                  Annotations/*.xml and JPEGImages/ (Pascal VOC)
  segmentation:   images/ and annotations/ or masks/, *.png of class numbers, with classes.txt
  classification: a folder for each class, or train/CLASS and val/CLASS"""

_NEAR = 'Mend it; or, if the folders beside it are the classes, say --task classify'


def read_data(root: Path, task: Optional[str], class_file: Optional[Path], faults: Faults) -> Data:
    """Recognize the layout of a folder, and read it.

    Args:
        root: The folder, or a COCO JSON file.
        task: One of :data:`~.dataset.TASKS`; ``None`` takes that of the layout.
        class_file: Names of the classes that count, one a line.
        faults: Takes what is wrong.

    Raises:
        UsageError: There is no such folder, or no layout of the task in it.
    """
    if not root.exists():
        raise UsageError(f'there is no file or folder {root} (seen from {Path.cwd()})')
    if class_file and not class_file.is_file():
        raise UsageError(f'--classes: there is no file {class_file} (seen from {Path.cwd()})')
    names = read_names(class_file) if class_file else None
    if names and len(set(names)) < len(names):
        raise UsageError(f'--classes {class_file} names a class twice')
    for layout in LAYOUTS:
        if task in (None, _TASK_OF.get(layout, 'classify')) and layout.matches(root):
            near = coco.misfits(root) if layout is folders and task is None else []
            if near:  # else its pictures would be of one class, called images
                raise UsageError('\n'.join([*near, _NEAR]))
            data = _read(layout, root.resolve(), names, faults)
            doubled = {name for name in data.classes if data.classes.count(name) > 1}
            if doubled:
                raise UsageError(f'{root} names a class twice: {", ".join(sorted(doubled))}')
            return data
    wanted = f' for --task {task}' if task else ''
    near = ''.join(f'\n  {fault}' for fault in coco.misfits(root)[:3])
    raise UsageError(
        f'{root} is laid out as nothing that is read{wanted}. These are:\n{_DESCRIPTION}'
        + (f'\nFiles that come near:{near}' if near else '')
    )


def _read(layout: Any, root: Path, names: Optional[List[str]], faults: Faults) -> Data:
    """Read a layout; an entry that its module did not expect is the fault of the data."""
    try:
        return layout.read(root, names, faults)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        words = f'{type(error).__name__}: {error!s:.300}'
        raise UsageError(
            f'{root} looks like {layout.NAME}, and an entry in it is not as that layout has it '
            f'({words}); --traceback shows where it was read'
        ) from error
