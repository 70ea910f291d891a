"""Prediction on files: find them, run the network on each, draw and write."""

import re
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

import numpy as np

from ..core.environment import MissingPackageError
from ..core.errors import PartlyFailedError, UsageError
from ..core.paths import shown
from ..recipes.configs import find_config, load_config, merge_options
from ..recipes.model_folder import TRAINED, name_of, trained_models, weights_in
from ..recipes.starting_weights import existing_checkpoint
from ..weights.addresses import is_remote, local_file
from ..weights.downloads import with_word
from .exported import SUFFIX, ExportedPredictor
from .outputs import Outputs
from .sources import Inputs, UnreadableError, count_frames, find_sources, read_frames

if TYPE_CHECKING:
    from ..toolboxes.predictor import Predictor

_OUT_OF_MEMORY = re.compile(r'out of memory|allocate|bad alloc', re.IGNORECASE)


@with_word
def predict(
    input: Inputs,
    model: Union[str, Path, None] = None,
    checkpoint: Union[str, Path, None] = None,
    out: Union[str, Path] = 'work_dirs/demo',
    *,
    random_weights: bool = False,
    device: Optional[str] = None,
    score_thr: float = 0.3,
    top_k: int = 5,
    deploy: bool = False,
    options: Optional[Mapping[str, Any]] = None,
    allow_new_keys: bool = False,
    trust_checkpoint: bool = False,
    allow_download: bool = False,
) -> List[Dict[str, Any]]:
    """Predict on pictures and videos; draw what was found, and write it as JSON.

    Args:
        input: A picture, a video, a folder of them, or several of these.
        model: Name or path of a config, a folder with a trained model, or the name of one of this
            package; an exported file needs none. Without this and ``checkpoint`` all trained
            models of this package run.
        checkpoint: Weights of the model; or an exported classifier, segmentor or detector
            (``.onnx``), which runs without torch and the toolboxes.
        out: Folder for the drawn pictures and videos, label maps of segmentors, and
            ``predictions.json``; of several models with a folder for each.
        random_weights: Do without a checkpoint, to try the pipeline.
        device: ``'cpu'``, ``'cuda'`` and so on; ``None`` takes what is there.
        score_thr: Least score of a detected object, 0 to 1.
        top_k: How many classes a classifier names.
        deploy: Reparameterize the network before it runs.
        options: Settings of the config to change: dotted keys to values.
        allow_new_keys: Let ``options`` set keys that nothing here reads.
        trust_checkpoint: Let the checkpoint execute code.
        allow_download: Let checkpoints be fetched from ``http://`` and ``https://``.

    Returns:
        An entry for each picture or frame, as in ``predictions.json``: ``file``, ``width``,
        ``height`` in pixels, and ``objects``, ``shares`` or ``top``; of all models that ran.

    Raises:
        UsageError: Something that the user can cure; the message says how.
        PartlyFailedError: Some files of a folder cannot be read or take more memory than there
            is; it names them, and comes last, after all others were done.
        CheckpointError: The checkpoint cannot be read or does not fit.
        MissingPackageError: A package that the config needs is missing.

    Example:
        >>> from tinyvim_mm.inference import predict
        >>> predict('photo.jpg', 'tinyvim_s_300e_in1k', 'tinyvim_s.pth')  # doctest: +SKIP
        [{'file': 'photo.jpg', 'height': 480, 'width': 640, 'top': [{'class': 'tench', ...}]}]
    """
    if not (model or checkpoint or random_weights) and trained_models():
        if options:
            raise UsageError('--cfg-options change the settings of one config: name it by --model')
        settings = dict(device=device, score_thr=score_thr, top_k=top_k, deploy=deploy)
        return _predict_with_trained(input, Path(out), settings)
    if not random_weights:
        checkpoint = checkpoint or weights_in(model)  # of a folder that has both
    checkpoint = str(checkpoint) if checkpoint else None
    if checkpoint and random_weights:
        raise UsageError('give either --checkpoint or --random-weights, not both')
    if checkpoint:
        existing_checkpoint(checkpoint, '--checkpoint')
    elif not random_weights:
        raise UsageError(
            'no --checkpoint: name the file with the weights, such as one that tools/train.py '
            'wrote, or give --random-weights to try the pipeline without'
        )
    # What takes no time comes first.
    sources = find_sources(input)
    outputs = Outputs(Path(out), sources)

    predictor: Union[Predictor, ExportedPredictor]
    if checkpoint and checkpoint.endswith(SUFFIX):
        _refuse_settings(deploy, options, device)
        if is_remote(checkpoint):
            raise UsageError(f'{checkpoint}: exported files are not fetched; give the path of one')
        predictor = ExportedPredictor(str(local_file(checkpoint)[0]), top_k, score_thr)
    elif model:
        settings = dict(device=device, score_thr=score_thr, top_k=top_k, deploy=deploy)
        predictor = _load(
            str(model),
            checkpoint,
            options,
            allow_new_keys,
            trust_checkpoint=trust_checkpoint,
            **settings,
        )
    else:
        raise UsageError(
            'no --model: name the config that the checkpoint was trained with, such as '
            'mask_rcnn_tinyvim_b_1x_coco'
        )
    outputs.facts.update(
        model=predictor.name, checkpoint=checkpoint, task=predictor.task, **predictor.settings
    )
    failures: Dict[Path, str] = {}
    try:
        for source, frame, image in _frames(sources, failures):
            with _failing_alone(source, failures):
                sample = predictor.predict(image)
                drawn, found = predictor.draw(image, sample), predictor.describe(sample)
                outputs.add(source, frame, drawn, found, predictor.label_map(sample))
    finally:
        outputs.facts['classes'] = list(predictor.classes)
        outputs.close()
    print(f'Written to {shown(outputs.folder)}: {outputs.summary()}')
    if failures:
        lines = ''.join(f'\n  {shown(file)}: {why}' for file, why in failures.items())
        done = {entry['file'] for entry in outputs.predictions}
        partly = ', or not of all frames' * any(file.name in done for file in failures)
        kind = PartlyFailedError if done else UsageError
        raise kind(f'{len(failures)} of {len(sources)} files gave no prediction{partly}:{lines}')
    return outputs.predictions


def _predict_with_trained(
    input: Inputs, out: Path, settings: Mapping[str, Any]
) -> List[Dict[str, Any]]:
    """Run the trained models of this package one after the other."""
    names = trained_models()
    print(
        f'No --model: {", ".join(names)} run, small models that are a part of this package. What '
        f'each was trained on, and cannot do: {shown(TRAINED)}'
    )
    found: List[Dict[str, Any]] = []
    missing: List[MissingPackageError] = []
    for name in names:
        try:
            found += predict(input, name, out=out / name, **settings)
        except MissingPackageError as error:
            print(f'{name} is left out: {error}', file=sys.stderr)
            missing.append(error)
    if missing and len(missing) == len(names):
        raise missing[-1]
    return found


def _refuse_settings(deploy: bool, options: Any, device: Optional[str]) -> None:
    moved = device not in (None, 'cpu')
    for option, given in {'--deploy': deploy, '--cfg-options': options, '--device': moved}.items():
        if given:
            raise UsageError(
                f'{option} does not apply to an exported file, which is fixed and runs on the '
                'CPU; give the .pth file, or leave the option out'
            )


def _load(
    model: str,
    checkpoint: Optional[str],
    options: Optional[Mapping[str, Any]],
    allow_new_keys: bool,
    **settings: Any,
) -> 'Predictor':
    from ..core import compat  # loads torch, as does what follows; exported files need neither

    compat.apply()
    path = find_config(model)
    cfg = load_config(path)
    merge_options(cfg, options, model, allow_new_keys)

    from .loading import load_predictor

    predictor = load_predictor(cfg, checkpoint, name=model, **settings)
    predictor.name = name_of(path)
    if not checkpoint:
        print('RANDOM weights: the predictions mean nothing.', file=sys.stderr)
    return predictor


@contextmanager
def _failing_alone(source: Path, failures: Dict[Path, str]) -> Iterator[None]:
    """Note that a file cannot be used, so that the others are; only the first of its reasons."""
    try:
        yield
    except UnreadableError as error:
        failures.setdefault(source, str(error))
    except Exception as error:
        # torch has no class for it on a CPU, and OpenCV and ONNX Runtime have their own.
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        failures.setdefault(source, 'it takes more memory than there is')


def _frames(
    sources: List[Path], failures: Dict[Path, str]
) -> Iterator[Tuple[Path, Optional[int], np.ndarray]]:
    """All frames of all sources, with a bar of progress if there are several."""
    total = sum(map(count_frames, sources))
    bar = None
    if total > 1 and find_spec('mmengine'):  # which exported files do without
        from mmengine.utils import ProgressBar

        bar = ProgressBar(total, file=sys.stdout)
    for source in sources:
        try:
            for frame, image in read_frames(source):
                yield source, frame, image
                if bar:
                    bar.update()
        except (UnreadableError, MemoryError) as error:
            failures.setdefault(source, str(error) or 'it takes more memory than there is')
    if bar:
        print()
