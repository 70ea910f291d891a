"""Samples that cannot be used: named, and on request replaced and listed."""

import logging
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Set

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from torch.utils.data import Dataset

from ...core.errors import BadSampleError, UsageError
from .faults import (
    fault_of_file,
    fault_of_label,
    fault_of_label_map,
    fault_of_picture,
    fault_of_place,
)

#: So many bad samples in a row are no accident: the pipeline or the folder is at fault.
MOST_IN_A_ROW = 10
#: In the work dir: one line a file, and behind a tabulator what is wrong with it.
SKIPPED_FILES = 'skipped_samples.txt'

_CURES = 'Mend the file, or take it out of the dataset'


class SkipLog:
    """The file that lists the samples which were skipped; its folder exists.

    All processes of a run append to it, the workers of the data loaders included.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen: Set[str] = set()

    def add(self, line: str) -> None:
        """Note and log one sample, once in each process."""
        if line in self.seen:
            return
        self.seen.add(line)
        with self.file.open('a', encoding='utf-8', errors='surrogateescape') as stream:
            stream.write(f'{line}\n')
        print_log(f'skipped {line.replace(chr(9), ": ")}', logger='current', level=logging.WARNING)

    def lines(self) -> List[str]:
        """What all processes noted, without repetition."""
        if not self.file.is_file():
            return []
        return sorted(set(self.file.read_text('utf-8', 'surrogateescape').splitlines()))


class CheckedPipeline:
    """Does what a dataset's ``Compose`` does, and names the file of a sample with a fault."""

    def __init__(self, pipeline: Any, dataset: Dataset) -> None:
        self.transforms = pipeline.transforms
        self.dataset = dataset

    def __call__(self, info: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        picture, label_map = info.get('img_path'), info.get('seg_map_path')
        for path in (picture, label_map):  # before anything opens it
            _refuse(path, fault_of_place(path, self.dataset))
        _refuse(picture, fault_of_label(info, self.dataset))
        for transform in self.transforms:
            for path in _opened(transform, picture, label_map):
                _refuse(path, fault_of_file(path))
            loaded = {'img', 'gt_seg_map'}.difference(info)
            try:
                found = transform(info)
            except Exception as error:
                raise _failure(transform, error, picture, label_map) from error
            if found is None:
                return None
            info = found
            if 'img' in loaded and 'img' in info:
                _refuse(picture, fault_of_picture(info))
            if 'gt_seg_map' in loaded and 'gt_seg_map' in info:
                _refuse(label_map, fault_of_label_map(info, self.dataset))
        return info


class SampleGuard:
    """Replaces the ``prepare_data`` of one of mmengine's datasets; see :func:`guard_samples`."""

    def __init__(self, dataset: BaseDataset, training: bool, log: Optional[SkipLog]) -> None:
        self.dataset = dataset
        self.training = training
        self.log = log if training else None

    def __call__(self, index: int) -> Any:
        """Prepare a sample, or the next one that can be used in its place.

        It draws no random number for that: the same files give the same training.

        Raises:
            BadSampleError: Without ``log`` the sample, with ``log`` too many in a row
                cannot be used.
        """
        dataset = self.dataset
        # mmdet's PipelineSwitchHook replaces the pipeline in the course of a training.
        if not isinstance(dataset.pipeline, CheckedPipeline):
            dataset.pipeline = CheckedPipeline(dataset.pipeline, dataset)
        prepare: Callable[[BaseDataset, int], Any] = type(dataset).prepare_data
        if self.log is None:
            try:
                return prepare(dataset, index)
            except BadSampleError as error:
                raise BadSampleError(self._explained(error)) from error
        for turn in range(MOST_IN_A_ROW):
            try:
                return prepare(dataset, (index + turn) % len(dataset))
            except BadSampleError as error:
                self.log.add(str(error).replace(': ', '\t', 1))
                last = error
        raise BadSampleError(
            f'{MOST_IN_A_ROW} samples in a row cannot be used, the last being {last}. That is no '
            'accident: look at the pipeline of the config and at the folder'
        ) from last

    def _explained(self, error: BadSampleError) -> str:
        rest = (
            '; --on-bad-sample skip trains without such samples, and lists them'
            if self.training
            else ': an evaluation that lacks pictures would compare with no other'
        )
        return f'bad sample of {type(self.dataset).__name__}: {error}\n{_CURES}{rest}'


def guard_samples(dataset: Dataset, training: bool, log: Optional[SkipLog] = None) -> None:
    """Let a dataset name the files of samples that cannot be used, and skip them on request.

    Args:
        dataset: Changed in place, through all wrappers.
        training: Whether it is trained on. Samples of a test are never skipped:
            scores over fewer pictures compare with no others.
        log: Skipped samples are noted there; ``None`` skips none.

    Raises:
        UsageError: The dataset is empty.
    """
    for part in _plain_datasets(dataset):
        if len(part) == 0:
            raise UsageError(empty_dataset(type(part).__name__, part.ann_file))
        part.prepare_data = SampleGuard(part, training, log)


def empty_dataset(name: str, ann_file: str) -> str:
    """What to tell about a dataset without a sample."""
    return (
        f'{name} has no sample'
        + (f': {ann_file} lists none' if ann_file else '')
        + ', or its filter_cfg leaves none. Annotations whose category is not one of the '
        "dataset's classes do not count: compare metainfo['classes'] with the names in the file"
    )


def _plain_datasets(dataset: Dataset) -> Iterator[BaseDataset]:
    if isinstance(dataset, BaseDataset):
        yield dataset
        return
    parts = [getattr(dataset, name, None) for name in ('dataset', '_dataset')]
    for part in [*parts, *getattr(dataset, 'datasets', ())]:
        if part is not None:
            yield from _plain_datasets(part)


def _refuse(path: Optional[str], fault: str) -> None:
    if fault:
        raise BadSampleError(f'{path}: {fault}')


def _opened(transform: Any, picture: Optional[str], label_map: Optional[str]) -> Iterator[str]:
    """Which files of a sample a transform is about to open, by its name.

    Of another backend of mmengine than the disk, such as an LMDB, the paths are keys.
    """
    backend = getattr(transform, 'backend_args', None) or {}
    backend = backend or getattr(transform, 'file_client_args', None) or {}
    if backend.get('backend', 'local') not in ('local', 'disk'):
        return
    name = type(transform).__name__
    if name.startswith('LoadImage') and isinstance(picture, str):
        yield picture
    annotations = name.startswith('Load') and name.endswith('Annotations')
    if annotations and getattr(transform, 'with_seg', True) and isinstance(label_map, str):
        yield label_map


def _failure(
    transform: Any, error: Exception, picture: Optional[str], label_map: Optional[str]
) -> BadSampleError:
    """Name the file at fault, as far as it can be known."""
    name = type(transform).__name__
    loads = name.startswith('Load')
    if name == 'LoadImageFromFile':
        return BadSampleError(f'{picture}: it is damaged or no picture ({_short(error)})')
    if name == 'LoadAnnotations' and isinstance(label_map, str):
        return BadSampleError(f'{label_map}: it is damaged or no label map ({_short(error)})')
    # The place tells a fault of the code from one of the data.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = '' if loads else f', {Path(frame.filename).name} line {frame.lineno}'
    return BadSampleError(f'{picture}: {name} failed on it ({_short(error)}{place})')


def _short(error: Exception) -> str:
    words = str(error).strip().splitlines()
    return type(error).__name__ + (f': {words[0]}' if words else '')
