"""Split off a validation set where there is none: the same each time, each class in both parts."""

import hashlib
from collections import Counter, defaultdict
from typing import Dict, List

from ..core.errors import UsageError
from .dataset import Data, Faults, Picture

#: Share of the pictures that is not trained on.
VALIDATION = 0.2


def split_data(data: Data, faults: Faults) -> None:
    """Let pictures have a split, in place, and say what was split off.

    Raises:
        UsageError: There is one picture only, or none to train on.
    """
    for picture in data.pictures:
        picture.split = picture.split or 'train'
    train = data.split('train')
    if not train:
        raise UsageError(f'{data.root}: no picture to train on is left')
    if not data.split('val'):
        if len(train) < 2:
            raise UsageError(f'{data.root}: of a single picture none can be held back; add more')
        held = _held_back(train)
        for picture in held:
            picture.split = 'val'
        faults.note(
            f'no validation set: {len(held)} of {len(train)} pictures were split off, by their '
            'content, so that it is the same each time'
        )
    seen = Counter(label for picture in data.split('train') for label in picture.classes())
    absent = [name for label, name in enumerate(data.classes) if not seen[label]]
    if absent:
        faults.note(
            f'no training picture shows {len(absent)} of {len(data.classes)} classes, which '
            f'cannot be learned: {", ".join(absent)}'
        )


def _held_back(pictures: List[Picture]) -> List[Picture]:
    """A share of the pictures of each class; a picture of several counts for its rarest."""
    counts = Counter(label for picture in pictures for label in picture.classes())
    by_class: Dict[int, List[Picture]] = defaultdict(list)
    for picture in pictures:
        rarest = min(picture.classes(), key=lambda c: (counts[c], c), default=-1)
        by_class[rarest].append(picture)
    held: List[Picture] = []
    owed = 0.0
    for _, group in sorted(by_class.items()):
        group = sorted(group, key=_draw)
        owed += VALIDATION * len(group)
        # What rounding leaves is owed to the next class; the last picture of one is trained on.
        number = min(round(owed), len(group) - 1)
        owed -= number
        held += group[:number]
    # Of classes with a picture each.
    return held or sorted(pictures, key=_draw)[: max(1, round(VALIDATION * len(pictures)))]


def _draw(picture: Picture) -> str:
    return hashlib.sha256((picture.digest + picture.file.name).encode()).hexdigest()
