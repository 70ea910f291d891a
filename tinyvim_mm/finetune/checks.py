"""Look at every picture and annotation; leave out what cannot be trained on, and name it."""

import hashlib
from collections import defaultdict
from typing import Dict, List, Sequence

import numpy as np

from ..core.errors import UsageError
from ..training.data.faults import fault_of_file
from ..training.data.masks import fault_of_mask
from .dataset import Box, Data, Faults, Picture, picture_size, read_label_map
from .layouts import yolo

#: Of more pictures the header and the end are read, not every pixel.
MOST_DECODED = 5000
#: Beyond this share of what there is, faults are no accident.
MOST_WRONG = 0.5
#: The value of label maps that is neither trained nor scored, as the toolboxes have it.
IGNORED = 255
#: Boxes may reach so many pixels out of the picture without a word: rounding does.
_SLACK = 1.0
#: Beyond this a coordinate is no pixel (and a NaN is not below it).
_LARGEST = 1e9
_ORDER = ('test', 'val', 'train', '')


def check_data(data: Data, faults: Faults, ignored: Sequence[int], strict: bool) -> None:
    """Check pictures, annotations and splits, in place.

    Args:
        data: As read. Pictures that cannot be used are taken out, boxes too; boxes that
            reach out of the picture are cut.
        faults: Takes what is wrong.
        ignored: Values of label maps that are not trained.
        strict: Refuse data with any fault.

    Raises:
        UsageError: Nothing usable is left, most of it is wrong, or ``strict``.
    """
    before, decode = len(data.pictures), len(data.pictures) <= MOST_DECODED
    data.pictures = [p for p in data.pictures if _usable(p, data, decode, faults)]
    if data.task == 'detect':
        number = sum(len(p.boxes) for p in data.pictures)
        for picture in data.pictures:
            picture.boxes = [box for box in picture.boxes if _cut(box, picture, faults)]
        number_left = sum(len(p.boxes) for p in data.pictures)
        _refuse_most(number - number_left, number, 'objects', faults)
    elif data.task == 'segment':
        _check_label_maps(data, faults, ignored)
    missing = sum(n for kind, n in faults.counts.items() if kind.startswith('picture does not'))
    lost = before - len(data.pictures) + missing
    _refuse_most(lost, before + missing, 'pictures', faults)
    _leave_out_copies(data, faults)
    if strict and faults.counts:
        raise UsageError('--strict, and there are faults:\n  ' + '\n  '.join(faults.lines()))
    if not data.pictures or not any(picture.classes() for picture in data.pictures):
        found = ''.join(f'\n  {line}' for line in faults.lines())
        raise UsageError(f'{data.root} ({data.layout}) holds no picture to learn from{found}')
    _check_names(data, faults)


def _usable(picture: Picture, data: Data, decode: bool, faults: Faults) -> bool:
    name = str(picture.file)
    fault = fault_of_file(name)
    try:
        size = None if fault else picture_size(picture.file, decode)
    except OSError as error:
        fault = str(error)
    if fault:
        faults.add('picture cannot be read: left out', f'{name}: {fault}')
        return False
    if picture.size and picture.size != size:
        kind = 'picture has another size than its annotations say: left out'
        swapped = ', exchanged, as by a rotation in its EXIF data' * (picture.size == size[::-1])
        faults.add(kind, f'{name}: {size}, in the annotations {picture.size}{swapped}')
        return False
    picture.size = size
    if data.layout == yolo.NAME:
        yolo.to_pixels(picture)
    return True


def _cut(box: Box, picture: Picture, faults: Faults) -> bool:
    """Whether a box can be used; it is cut at the border of its picture."""
    numbers = (box.x, box.y, box.width, box.height)
    where = f'{picture.file.name}: x, y, width, height = {", ".join(f"{n!r:.20}" for n in numbers)}'
    if not all(isinstance(n, (int, float)) and abs(n) <= _LARGEST for n in numbers):
        faults.add('box that is no number: left out', where)
        return False
    if box.width < 1 or box.height < 1:
        faults.add('degenerate box, a side below one pixel: left out', where)
        return False
    width, height = picture.size
    fault = fault_of_mask(box.segmentation, width, height)
    if fault:
        faults.add('object whose outline cannot be drawn: left out', f'{where}: it {fault}')
        return False
    left, top = max(box.x, 0.0), max(box.y, 0.0)
    right, bottom = min(box.x + box.width, width), min(box.y + box.height, height)
    if right - left < 1 or bottom - top < 1:
        faults.add('box outside of its picture: left out', f'{where}, picture {width}x{height}')
        return False
    beyond = max(-box.x, -box.y, box.x + box.width - width, box.y + box.height - height)
    if beyond > _SLACK:
        kind = 'box that reaches out of its picture: cut at the border'
        faults.add(kind, f'{where}, picture {width}x{height}')
    if beyond > 0:
        box.x, box.y, box.width, box.height = left, top, right - left, bottom - top
    return True


def _check_label_maps(data: Data, faults: Faults, ignored: Sequence[int]) -> None:
    """Find the values that occur, name classes where nobody did, and map values to them."""
    found: Dict[str, np.ndarray] = {}
    usable: List[Picture] = []
    for picture in data.pictures:
        name = str(picture.label_map)
        try:
            labels = read_label_map(picture.label_map)
        except OSError as error:
            faults.add('label map cannot be read: its picture left out', f'{name}: {error}')
            continue
        if labels.shape[::-1] != picture.size:
            kind = 'label map has another size than its picture: left out'
            faults.add(kind, f'{name}: {labels.shape[::-1]}, its picture {picture.size}')
            continue
        found[name] = np.unique(labels)
        usable.append(picture)
    data.pictures = usable
    values = sorted({int(v) for each in found.values() for v in each} - set(ignored))
    if values == [0] and ignored == (IGNORED,) and any(IGNORED in v for v in found.values()):
        faults.note('label maps hold 0 and 255 only: read as background and foreground')
        values = [0, IGNORED]
        data.values = {0: 0, IGNORED: 1}
        data.classes = data.classes or ['background', 'foreground']
    elif data.classes:
        data.values = {v: v for v in range(len(data.classes)) if v not in ignored}
    else:
        data.classes = ['background' if v == 0 else f'value {v}' for v in values]
        data.values = {v: number for number, v in enumerate(values)}
        faults.note(f'classes have no names (classes.txt): {", ".join(data.classes)}')
    if len(data.classes) >= IGNORED:
        raise UsageError(f'{len(data.classes)} classes in label maps; at most {IGNORED - 1} go')
    wrong = 0
    for picture in data.pictures:
        own = [int(v) for v in found[str(picture.label_map)]]
        beyond = [v for v in own if v not in data.values and v not in ignored]
        if beyond:
            wrong += 1
            kind = f'label map with values beyond the {len(data.classes)} classes: not trained'
            faults.add(
                kind,
                f'{picture.label_map}: {beyond}, classes are 0 to '
                f'{len(data.classes) - 1}, ignored {list(ignored)}',
            )
        picture.labels = tuple(sorted({data.values[v] for v in own if v in data.values}))
    _refuse_most(wrong, len(data.pictures), 'label maps', faults)


def _leave_out_copies(data: Data, faults: Faults) -> None:
    """Of pictures that are in two splits keep the one in the test, or else in the validation."""
    first: Dict[str, Picture] = {}
    kept = set()
    for picture in sorted(data.pictures, key=lambda p: (_ORDER.index(p.split), str(p.file))):
        digest = hashlib.sha256(picture.file.read_bytes()).hexdigest()
        other = first.setdefault(digest, picture)
        picture.digest = digest
        pair = f'{picture.file} ({picture.split or "no split"}), as {other.file} ({other.split})'
        if other is picture or (other.split == picture.split and other.file != picture.file):
            kept.add(id(picture))
            if other is not picture:
                faults.add('same picture twice in a split: kept', pair)
        elif other.file == picture.file and other.split == picture.split:
            faults.add('picture listed twice: the second left out', pair)
        else:
            faults.add('same picture in two splits: left out of the one learned from', pair)
    data.pictures = [picture for picture in data.pictures if id(picture) in kept]


def _check_names(data: Data, faults: Faults) -> None:
    plain = defaultdict(list)
    for name in data.classes:
        plain[''.join(filter(str.isalnum, name.lower())) or name].append(name)
    for names in plain.values():
        if len(names) > 1:
            faults.note(f'classes of nearly the same name, one misspelt? {", ".join(names)}')


def _refuse_most(wrong: int, all_of_them: int, what: str, faults: Faults) -> None:
    if all_of_them and wrong > MOST_WRONG * all_of_them:
        lines = ''.join(f'\n  {line}' for line in faults.lines())
        raise UsageError(
            f'{wrong} of {all_of_them} {what} are wrong, which is no accident; nothing is '
            f'trained. Mend the data:{lines}'
        )
