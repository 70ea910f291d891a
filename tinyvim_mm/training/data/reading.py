"""Annotation files are looked at while the toolboxes read them, and named when they cannot be."""

import contextlib
import logging
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence

from mmengine.logging import print_log

from ...core.errors import UsageError
from . import coco
from .text import fault_of_text, read_json


@contextlib.contextmanager
def reading_annotations(keys: Sequence[str] = coco.ANNOTATION, labeled: bool = True) -> Iterator:
    """Name what is wrong with the annotation files that are read inside.

    mmdet's files are checked as they are parsed, so that COCO's 450 MB are read once; files of
    other kinds are named when the dataset cannot read them.

    Args:
        keys: What each of COCO's annotations must say.
        labeled: Whether files that have pictures and no annotations are refused.

    Raises:
        UsageError: A file cannot be used.
    """
    with contextlib.ExitStack() as stack:
        if 'mmdet' in sys.modules:  # else nothing reads such files
            api = import_module('mmdet.datasets.api_wrappers').COCO
            stack.enter_context(_checking(api, keys, labeled))
        try:
            yield
        except UsageError:
            raise
        except Exception as error:
            fault = _fault_of_reading(error)
            if fault:
                raise UsageError(fault) from error
            raise


@contextlib.contextmanager
def _checking(api: Any, keys: Sequence[str], labeled: bool) -> Iterator:
    """Let mmdet's reader of COCO's files check them."""
    init, index, categories = api.__init__, api.createIndex, api.get_cat_ids

    def checked_init(self: Any, annotation_file: Optional[str] = None) -> None:
        self.annotation_file = annotation_file
        try:
            init(self, annotation_file)
        except (ValueError, RecursionError, OSError) as error:
            raise UsageError(fault_of_text(annotation_file, error)) from error
        except AssertionError:  # not even an object
            coco.check_content(read_json(Path(annotation_file)), annotation_file)
            raise

    def checked_index(self: Any) -> None:
        # The class is also the base of readers of other layouts, which have an index of theirs.
        need = coco.SECTIONS if labeled else ('images', 'categories')
        coco.check_content(self.dataset, self.annotation_file, need)
        loose = coco.check_annotations(self.dataset, self.annotation_file, keys)
        if loose.counts:
            lines = ''.join(f'\n  {line}' for line in loose.lines())
            text = f'{self.annotation_file}:{lines}'
            print_log(text, logger='current', level=logging.WARNING)
        index(self)

    def checked_categories(self: Any, cat_names: Any = (), *args: Any, **kwargs: Any) -> Any:
        coco.check_order(self.dataset['categories'], cat_names, self.annotation_file)
        return categories(self, cat_names, *args, **kwargs)

    api.__init__, api.createIndex, api.get_cat_ids = checked_init, checked_index, checked_categories
    try:
        yield
    finally:
        api.__init__, api.get_cat_ids = init, categories
        del api.createIndex  # it is inherited


def _fault_of_reading(error: Exception) -> str:
    """Which dataset could not read which file, and why; nothing of other errors."""
    if isinstance(error, (ImportError, MemoryError)):  # of a reader's package, or the machine
        return ''
    for frame, _ in traceback.walk_tb(error.__traceback__):
        dataset = frame.f_locals.get('self')
        if frame.f_code.co_name != 'load_data_list' or not getattr(dataset, 'ann_file', ''):
            continue
        name = type(dataset).__name__
        if isinstance(error, (UnicodeDecodeError, RecursionError)) or hasattr(error, 'doc'):
            return f'{name}: {fault_of_text(dataset.ann_file, error)}'
        words = f'{type(error).__name__}: {error}'.strip(': ')
        return (
            f'{name} cannot read the annotation file {dataset.ann_file} ({words:.300}): an entry '
            'of it is not as this kind of dataset expects'
        )
    return ''
