"""What can be wrong with the files and labels of one sample.

The toolboxes pass over some of these faults, and report others without the name of the file.
Each function returns the fault in words, and an empty string where there is none.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Dict, Union

from .masks import fault_of_mask

if TYPE_CHECKING:
    from torch.utils.data import Dataset  # the demo of exported files does without torch

_JPEG, _JPEG_SCAN, _JPEG_END = b'\xff\xd8', 0xDA, b'\xff\xd9'
_PNG, _PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND'
# Where a PNG says how many bits a value has.
_PNG_DEPTH = 24

_ROTATED = (
    '. Height and width are exchanged: a rotation in the EXIF data of the picture, which is '
    "applied unless LoadImageFromFile has color_type='color_ignore_orientation'"
)


def fault_of_file(path: str) -> str:
    """Look at a picture's file without decoding it, which may find more.

    Addresses with a scheme are not looked at.
    """
    if '://' in path:
        return ''
    try:
        return _fault_of_content(Path(path))
    except (OSError, ValueError) as error:  # no permission, a name that no file can have
        return f'it cannot be read ({getattr(error, "strerror", None) or error})'


def fault_of_place(path: Any, dataset: 'Dataset') -> str:
    """Whether an annotation names a file outside of the folders that its dataset was given.

    Without folders of its own (``data_root``, ``data_prefix``) a dataset may name any file.
    """
    if not isinstance(path, str):
        return ''
    prefixes = getattr(dataset, 'data_prefix', None) or {}
    given = [getattr(dataset, 'data_root', ''), *getattr(prefixes, 'values', list)()]
    folders = [folder for folder in given if isinstance(folder, str) and folder]
    if '://' in path:
        fine = any('://' in folder for folder in folders)
        return '' if fine else 'an annotation names an address, and the dataset is a folder'
    inside = any(is_inside(path, folder) for folder in folders)
    if inside or not folders:
        return ''
    return (
        f'an annotation names a file outside of the folder of its dataset, {folders[0]}; if it is '
        'meant, set data_root to a folder that holds all files'
    )


def is_inside(path: Union[str, Path], folder: Union[str, Path]) -> bool:
    """Whether a path leads into a folder by its name; links in it are the user's and may lead out."""
    whole, root = (os.path.abspath(place) for place in (path, folder))
    return whole == root or whole.startswith(root.rstrip(os.sep) + os.sep)


def _fault_of_content(file: Path) -> str:
    if not file.exists():
        return 'there is no such file'
    if not file.is_file():
        return 'it is no file'
    size = file.stat().st_size
    if size == 0:
        return 'the file is empty'
    with file.open('rb') as stream:
        head = stream.read(len(_PNG))
        if head == _PNG:
            return _fault_of_chunks(stream, size)
        if not head.startswith(_JPEG):
            return ''
        stream.seek(max(0, size - len(_JPEG_END)))
        # Only what does not end as usual has to be read: many files carry
        # something behind the picture.
        if stream.read() == _JPEG_END:
            return ''
        stream.seek(0)
        content = stream.read()
    if content.find(_JPEG_END, _first_scan(content)) < 0:
        return 'the JPEG is cut off: its end marker is missing'
    return ''


def _fault_of_chunks(stream: BinaryIO, size: int) -> str:
    """Follow the chunks of a PNG: OpenCV takes as much memory as one of them claims."""
    place = len(_PNG)
    while place < size:
        stream.seek(place)
        head = stream.read(8)
        place += 12 + int.from_bytes(head[:4], 'big')
        if place > size:
            return 'the PNG is cut off or damaged: one of its chunks reaches beyond its end'
        if head[4:] == _PNG_END:
            return ''
    return 'the PNG is cut off: its last chunk is missing'


def fault_of_picture(info: Dict[str, Any]) -> str:
    """Look at a picture that was just loaded.

    Args:
        info: Sample with ``img`` of shape (H, W, ...) and ``img_path``, before
            anything changed them. ``height`` and ``width``, which mmdet takes from
            the annotation file, and the sizes of run-length encoded masks have to
            agree with it.
    """
    height, width = info['img'].shape[:2]
    expected = (info.get('height', height), info.get('width', width))
    if expected != (height, width):
        return (
            f'the picture has {width}x{height} pixels, and the annotation file says '
            f'{expected[1]}x{expected[0]}: its boxes and masks would lie elsewhere'
            + (_ROTATED if expected == (width, height) else '')
        )
    for number, instance in enumerate(info.get('instances') or ()):
        fault = fault_of_mask(instance.get('mask'), width, height) if instance else ''
        if fault:
            return f'the mask of object {number} {fault}'
    return ''


def fault_of_label_map(info: Dict[str, Any], dataset: 'Dataset') -> str:
    """Look at a label map that was just loaded.

    Args:
        info: Sample with ``gt_seg_map``, its ``seg_map_path`` and ``ori_shape``.
        dataset: Its ``metainfo['classes']`` say which labels may occur beside its
            ``ignore_index``.
    """
    path = info.get('seg_map_path')
    labels, shape = info['gt_seg_map'], tuple(info['ori_shape'])
    if isinstance(path, str) and _png_depth(path) == 16:
        return 'the label map has 16 bits, of which the toolbox would keep the lower 8'
    if labels.ndim < 2:
        return 'a side of the label map has one pixel, and the toolbox drops such a side'
    if labels.ndim > 2:
        return f'the label map has {labels.shape[-1]} channels and needs one, of class numbers'
    if labels.shape != shape:
        return (
            f'the label map has {labels.shape[1]}x{labels.shape[0]} pixels, and the picture has '
            f'{shape[1]}x{shape[0]}' + (_ROTATED if labels.shape == shape[::-1] else '')
        )
    classes, ignored = dataset.metainfo.get('classes'), getattr(dataset, 'ignore_index', None)
    if classes and ignored is not None and labels.size:
        largest = int(labels[labels != ignored].max(initial=0))
        if largest >= len(classes):
            return (
                f'the label map holds class {largest}, counted from 0, and there are '
                f'{len(classes)}; pixels to be ignored have {ignored}'
            )
    return ''


def fault_of_label(info: Dict[str, Any], dataset: 'Dataset') -> str:
    """Look at ``gt_label``, a class number or several, of a sample as its dataset describes it."""
    labels, classes = info.get('gt_label'), dataset.metainfo.get('classes')
    if labels is None or not classes:
        return ''
    for label in labels if isinstance(labels, (list, tuple)) else [labels]:
        if not 0 <= int(label) < len(classes):
            return f'its class is {label}, counted from 0, and there are {len(classes)}'
    return ''


def _first_scan(jpeg: bytes) -> int:
    """Where the header ends; it may hold a small picture, with an end marker, of its own."""
    position = len(_JPEG)
    while position + 4 <= len(jpeg) and jpeg[position] == 0xFF:
        marker = jpeg[position + 1]
        if marker == _JPEG_SCAN:
            return position
        if marker == 0xFF:  # filling
            position += 1
        else:
            position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], 'big')
    return position


def _png_depth(path: str) -> int:
    """Bits of a value, 0 for other files."""
    if not os.path.isfile(path):  # but an address, or a key of another backend
        return 0
    with open(path, 'rb') as stream:
        head = stream.read(_PNG_DEPTH + 1)
    return head[_PNG_DEPTH] if head.startswith(_PNG) and len(head) > _PNG_DEPTH else 0
