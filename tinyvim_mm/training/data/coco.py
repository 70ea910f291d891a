"""COCO's annotation files: whether a training or a score can rest on what one says."""

from collections import Counter
from math import isfinite
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence, Set, Union

from ...core.errors import UsageError
from .tally import Faults

#: What each entry of a section must say, beside its id.
IMAGE = ('file_name', 'width', 'height')
CATEGORY = ('name',)
ANNOTATION = ('image_id', 'category_id', 'bbox', 'area')
SECTIONS = ('images', 'annotations', 'categories')


def check_content(
    content: Any,
    file: Union[Path, str],
    need: Iterable[str] = SECTIONS,
    image: Sequence[str] = IMAGE,
) -> None:
    """Whether something is laid out as COCO's files are, and its pictures and classes are told.

    Args:
        content: What the JSON file holds.
        file: It, for messages.
        need: Of :data:`SECTIONS`, those without which nothing can be done.
        image: What each picture must say.

    Raises:
        UsageError: It counts what is wrong, by kind, and gives examples.
    """
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise UsageError(f'{file} is a {kind}, and COCO has an object with {_listed(SECTIONS)}')
    missing = [name for name in need if name not in content]
    if missing:
        raise UsageError(
            f'{file} has no {_listed(missing)}; COCO has {_listed(SECTIONS)}, and this file has '
            f'{_listed(sorted(map(str, content))[:8]) or "nothing"}'
        )
    for name in SECTIONS:
        if not isinstance(content.get(name, []), list):
            kind = type(content[name]).__name__
            raise UsageError(f'{file}: "{name}" is a {kind}, and COCO has a list there')
    faults = Faults()
    for name, keys in (('images', image), ('categories', CATEGORY)):
        _check_entries(content.get(name, []), name, keys, faults)
    named = [repr(c.get('name')) for c in content.get('categories', []) if isinstance(c, dict)]
    for name, count in Counter(named).items():
        if count > 1:
            faults.add('categories that share a name with another', f'{count} x {name:.80}')
    for entry in content.get('annotations', []):
        if not isinstance(entry, dict):
            faults.add('annotations that are no object', repr(entry)[:80])
    refuse(faults, file)


def check_annotations(
    content: Dict[str, Any], file: Union[Path, str], keys: Sequence[str] = ANNOTATION
) -> Faults:
    """Check every annotation of a content that :func:`check_content` let pass, in one walk.

    Args:
        content: What the JSON file holds.
        file: It, for messages.
        keys: What each annotation must say.

    Returns:
        What does not count, as the toolbox has it, and that a user should know.

    Raises:
        UsageError: It counts what is wrong, by kind, and gives examples.
    """
    faults, loose = Faults(), Faults()
    annotations = content.get('annotations', [])
    images = {image['id'] for image in content.get('images', [])}
    categories = {category['id'] for category in content.get('categories', [])}
    wanted, seen = set(keys), set()
    for annotation in annotations:
        # COCO has 860,000 of them: what is right is passed without a question more.
        try:
            x, y, width, height = annotation['bbox']
            right = (
                isfinite(x + y + width + height + annotation['area'])
                and annotation['image_id'] in images
                and annotation['category_id'] in categories
                and annotation['id'] not in seen
                and wanted <= annotation.keys()
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            right = False
        if not right:
            _look_closer(annotation, images, categories, keys, seen, faults, loose)
        seen.add(_hashable(annotation.get('id')))
    for kind, count in loose.counts.items():
        if count == len(annotations):
            faults.counts[kind] = count
            faults.examples[kind] = loose.examples[kind]
    refuse(faults, file)
    return loose


def check_order(categories: List[dict], classes: Sequence[str], file: Union[Path, str]) -> None:
    """Whether the numbers of a file's categories stand for the classes of a dataset.

    The toolbox numbers the categories that have the name of a class in the order of the file,
    whatever the order of the classes: where the two disagree, every object would be trained
    and drawn as something else, without a word.

    Raises:
        UsageError: They disagree.
    """
    if isinstance(classes, str):
        raise UsageError(
            f"metainfo['classes'] is the text {classes!r} and not a list of names: a single class "
            f'is written with a comma, classes=({classes!r},)'
        )
    known = set(classes)
    found = [category['name'] for category in categories if category['name'] in known]
    for number, (here, there) in enumerate(zip(classes, found)):
        if here != there:
            shown = ', '.join(map(repr, found[:12])) + (', ...' if len(found) > 12 else ',')
            raise UsageError(
                f'{file}: among its categories, number {number} of those that are classes of the '
                f'dataset is {there!r}, and class {number} of the dataset is {here!r}: objects '
                f'would be taken for another class. Name the classes as the file has them, '
                f'metainfo=dict(classes=({shown})), with as many in the num_classes of the model; '
                'or list all categories in the file, in the order of the classes'
            )


def refuse(faults: Faults, file: Union[Path, str]) -> None:
    """Raise a ``UsageError`` that lists the faults, if there are any."""
    if faults.counts:
        lines = ''.join(f'\n  {line}' for line in faults.lines())
        raise UsageError(f'{file} cannot be used:{lines}\nMend the file, or take these out of it')


def _check_entries(entries: List[Any], name: str, keys: Sequence[str], faults: Faults) -> None:
    seen: Set[Any] = set()
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            faults.add(f'{name} that are no object', repr(entry)[:80])
            continue
        where = f'number {number} of "{name}", id {entry.get("id")!r}'
        for key in ('id', *keys):
            if key not in entry:
                faults.add(f'{name} without "{key}"', where)
        id_ = entry.get('id', number)
        if not _is_id(id_):
            faults.add(f'{name} whose id is neither a whole number nor a text', where)
        elif 'id' in entry and id_ in seen:
            faults.add(f'{name} that share an id with another: number them anew', where)
        else:
            seen.add(id_)
        for key in ('file_name', 'name'):
            if key in keys and key in entry and (not isinstance(entry[key], str) or not entry[key]):
                faults.add(f'{name} whose "{key}" is no text', f'{where}: {entry[key]!r:.80}')
        for key in ('width', 'height'):
            if name == 'images' and entry.get(key) is not None and not _is_size(entry[key]):
                kind = f'{name} whose "{key}" is no number of pixels'
                faults.add(kind, f'{where}: {entry[key]!r:.80}')


def _look_closer(
    annotation: Dict[str, Any],
    images: Set[Any],
    categories: Set[Any],
    keys: Sequence[str],
    seen: Set[Any],
    faults: Faults,
    loose: Faults,
) -> None:
    """Say what is wrong with an annotation, if something is."""
    where = f'annotation {annotation.get("id")!r} of image {annotation.get("image_id")!r}'
    if annotation.get('ignore'):  # the toolbox does not look at its box
        keys = [key for key in keys if key not in ('bbox', 'area')]
    for key in ('id', *keys):
        if key not in annotation:
            faults.add(f'annotations without "{key}"', where)
    if 'id' in annotation and not _is_id(annotation['id']):
        faults.add('annotations whose id is neither a whole number nor a text', where)
    elif 'id' in annotation and annotation['id'] in seen:
        faults.add('annotations that share an id with another: number them anew', where)
    box = annotation.get('bbox', [0] * 4)
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
        faults.add('annotations whose "bbox" is not 4 finite numbers', f'{where}: {box!r:.80}')
    if not _is_number(annotation.get('area', 0)):
        kind = 'annotations whose "area" is no finite number'
        faults.add(kind, f'{where}: {annotation["area"]!r:.80}')
    for key, known, what in (
        ('image_id', images, 'picture'),
        ('category_id', categories, 'category'),
    ):
        found = annotation.get(key)
        if key in annotation and _hashable(found) not in known:
            kind = f'annotations of a {what} that the file does not list, which do not count'
            other = of_another_type(found, known)
            loose.add(kind, f'{where}: {key} {found!r:.80}{other}')


def of_another_type(found: Any, known: Set[Any]) -> str:
    """Words for an id that is a text where the known ones are numbers, or the other way."""
    if isinstance(found, str) and found.lstrip('-').isdigit() and int(found) in known:
        return f'; the file lists the number {int(found)}, without quotation marks'
    if isinstance(found, int) and str(found) in known:
        return f'; the file lists the text "{found}", in quotation marks'
    return ''


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else repr(value)


def _is_id(value: Any) -> bool:
    # Some programs write 1.0, which Python and the toolbox take for 1.
    return isinstance(value, (int, str)) or isinstance(value, float) and value.is_integer()


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and isfinite(value)
    except OverflowError:
        return False


def _is_size(value: Any) -> bool:
    return _is_number(value) and value > 0


def _listed(names: Iterable[str]) -> str:
    return ', '.join(f'"{name}"' for name in names)
