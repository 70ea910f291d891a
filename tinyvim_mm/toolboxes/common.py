"""What the modules of the toolboxes share."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, NamedTuple, Tuple

from ..core.errors import UsageError
from ..core.paths import shown
from ..recipes.starting_weights import absent_pretrained

if TYPE_CHECKING:
    import numpy as np
    from mmengine.config import Config
    from mmengine.evaluator import BaseMetric
    from mmengine.runner import Runner
    from mmengine.structures import BaseDataElement
    from mmengine.visualization import Visualizer

    from ..visualization.sheet import Row


class Change(NamedTuple):
    """One setting that ``--sample`` changes, by its dotted key; a dict is merged as configs are."""

    key: str
    value: Any
    reason: str


class Photographs(NamedTuple):
    """One set of sample photographs: its split, and how the network stands to it."""

    split: str
    label: str


class Score(NamedTuple):
    """One figure of a validation, by its key in the log.

    ``task`` and ``metric`` are the words of metafiles; times ``scale`` it is the number that
    papers print, mostly percent.
    """

    key: str
    task: str
    metric: str
    scale: float = 1.0


class FullData(NamedTuple):
    """A public dataset that a recipe is trained on: its name in metafiles, images an epoch."""

    name: str
    train_images: int


def photographs(seen: str, unseen: str) -> Tuple[Photographs, Photographs]:
    """The photographs that the network is trained on, and the others, by their splits."""
    return (
        Photographs(seen, 'photographs the network was trained on'),
        Photographs(unseen, 'photographs the network has not seen'),
    )


#: What every sample run changes.
CHANGES = (
    Change('train_dataloader.num_workers', 0, 'two cores have nothing to spare for workers'),
    Change('train_dataloader.persistent_workers', False, 'there are no workers'),
    Change('test_dataloader.num_workers', 0, 'two cores have nothing to spare for workers'),
    Change('test_dataloader.persistent_workers', False, 'there are no workers'),
    Change('val_cfg', None, 'both sets of photographs are evaluated after the training'),
    Change('val_dataloader', None, 'as above'),
    Change('val_evaluator', None, 'as above'),
    Change('randomness', dict(seed=0), 'two runs on one machine shall show the same'),
    Change('default_hooks.checkpoint.max_keep_ckpts', 1, 'a checkpoint holds many megabytes'),
)


def changes_of_transforms(
    cfg: 'Config', split: str, settings: Mapping[str, Tuple[str, Any, str]]
) -> Iterator[Change]:
    """Change one setting of transforms: by their type, its name, value and reason."""
    pipeline = f'{split}_dataloader.dataset.pipeline'
    for place, transform in _transforms(cfg[f'{split}_dataloader'].dataset.pipeline, pipeline):
        if transform.type in settings:
            name, value, reason = settings[transform.type]
            yield Change(f'{place}.{name}', value, reason)


def _transforms(pipeline: List[Any], place: str) -> Iterator[Tuple[str, Any]]:
    """Transforms of a pipeline with their places, those among which one is drawn too."""
    for index, step in enumerate(pipeline):
        if isinstance(step, list):
            yield from _transforms(step, f'{place}.{index}')
        elif 'transforms' in step:
            yield from _transforms(step['transforms'], f'{place}.{index}.transforms')
        else:
            yield f'{place}.{index}', step


def changes_of_weights(cfg: 'Config') -> Iterator[Change]:
    """Start from random weights where the pretrained ones of the config do not exist."""
    for key, checkpoint in list(absent_pretrained(cfg)):
        yield Change(key, None, f'there is no {checkpoint}: training starts from RANDOM weights')


def check_sample(cfg: 'Config', config_path: Path, dataset: str, folder: Path) -> None:
    """Raise unless a config reads a plain ``dataset``, and its stand-in is in ``folder``."""
    for split in ('train', 'test'):
        found = cfg[f'{split}_dataloader'].dataset.get('type')
        if found != dataset:
            raise UsageError(
                f'--sample replaces a plain {dataset}, and {split}_dataloader of '
                f'{shown(config_path)} reads a {found}'
            )
    if not folder.is_dir():
        raise UsageError(
            f'the photographs of --sample are not at {folder}: they are part of the '
            'repository, not of an installed package; run in a clone'
        )


def check_loop(cfg: 'Config', config_path: Path, key: str) -> None:
    """Raise unless the training's length stands under the key that ``--sample`` shortens."""
    if key not in cfg.train_cfg:
        raise UsageError(
            f'--sample shortens a training by its train_cfg.{key}, which {shown(config_path)} '
            'has not'
        )


def draw_row(
    runner: 'Runner',
    sample: 'BaseDataElement',
    truth_caption: str,
    prediction_caption: str,
    **settings: Any,
) -> 'Row':
    """Draw ground truth and prediction; ``settings`` are more arguments of the visualizer."""
    from mmcv import imread

    from ..visualization.sheet import Row

    path, visualizer = sample.img_path, runner.visualizer
    image, name = imread(path, channel_order='rgb'), Path(path).stem
    truth = draw(visualizer, f'{name}_truth', image, sample, truth=True, **settings)
    prediction = draw(visualizer, f'{name}_prediction', image, sample, truth=False, **settings)
    return Row(truth, prediction, truth_caption, prediction_caption)


def draw(
    visualizer: 'Visualizer',
    name: str,
    image: 'np.ndarray',
    sample: 'BaseDataElement',
    truth: bool,
    **settings: Any,
) -> 'np.ndarray':
    """Draw ground truth or prediction on ``image``: ``(H, W, 3)``, 8 bits, RGB, as the result."""
    with warnings.catch_warnings():
        # Objects touch the border of a photograph as a matter of course.
        warnings.filterwarnings('ignore', message='.*out of bounds')
        visualizer.add_datasample(
            name, image, sample, draw_gt=truth, draw_pred=not truth, **settings
        )
    return visualizer.get_image()


def dump_metric(path: str) -> 'BaseMetric':
    """A metric of mmengine that saves the predictions as a pickle."""
    from mmengine.evaluator import DumpResults

    return DumpResults(out_file_path=path)
