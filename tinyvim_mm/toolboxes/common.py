"""What the packages for the toolboxes share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Tuple

from ..core.errors import UsageError
from ..core.paths import shown
from ..recipes.starting_weights import absent_pretrained

if TYPE_CHECKING:
    import numpy as np
    from mmengine.config import Config
    from mmengine.evaluator import BaseMetric
    from mmengine.runner import Runner
    from mmengine.structures import BaseDataElement


@dataclass(frozen=True)
class Change:
    """One setting that ``--sample`` changes.

    Attributes:
        key: Dotted key of the config.
        value: The new value; a dict is merged as configs are.
        reason: Why the sample run needs it.
    """

    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Photographs:
    """One set of sample photographs.

    Attributes:
        split: Its name in the data set's layout.
        label: How the network stands to it.
    """

    split: str
    label: str


@dataclass(frozen=True)
class Score:
    """One figure of a validation.

    Attributes:
        key: Its name in the log.
        task: What it measures, in the words of metafiles.
        metric: Its name in metafiles.
        scale: What makes it the number that papers print, mostly percent.
    """

    key: str
    task: str
    metric: str
    scale: float = 1.0


@dataclass(frozen=True)
class FullData:
    """A public data set that a recipe is trained on.

    Attributes:
        name: Its name in metafiles.
        train_images: Number of images that an epoch reads.
    """

    name: str
    train_images: int


SEEN_LABEL = 'photographs the network was trained on'
UNSEEN_LABEL = 'photographs the network has not seen'

#: What every sample run changes.
COMMON_CHANGES: Tuple[Change, ...] = (
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


def changes_of_weights(cfg: 'Config') -> Iterator[Change]:
    """Start from random weights where the pretrained ones of the config do not exist."""
    for key, checkpoint in list(absent_pretrained(cfg)):
        yield Change(key, None, f'there is no {checkpoint}: training starts from RANDOM weights')


def check_sample(cfg: 'Config', config_path: Path, dataset: str, folder: Path) -> None:
    """Raise unless a config reads what the photographs replace, and they are there.

    Args:
        cfg: As it was loaded.
        config_path: Where it came from; for messages.
        dataset: Type of the data set that the photographs stand in for.
        folder: Where a clone has them.

    Raises:
        UsageError: The message says what is different.
    """
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
    """Raise unless the training's length stands under a key that ``--sample`` can shorten.

    Args:
        cfg: As it was loaded.
        config_path: Where it came from; for messages.
        key: ``'max_epochs'`` or ``'max_iters'``.

    Raises:
        UsageError: It stands under another one.
    """
    if key not in cfg.train_cfg:
        raise UsageError(
            f'--sample shortens a training by its train_cfg.{key}, which {shown(config_path)} '
            'has not'
        )


def draw_sample(
    runner: 'Runner', image: 'np.ndarray', sample: 'BaseDataElement', truth: bool, **settings: Any
) -> 'np.ndarray':
    """Let the runner's visualizer draw either the ground truth or the prediction.

    Args:
        runner: Whose visualizer draws.
        image: ``(H, W, 3)``, 8 bits, RGB.
        sample: What the model predicted, with its ground truth.
        truth: Which of them to draw.
        **settings: More arguments of the visualizer.

    Returns:
        The drawn picture, in the same layout.
    """
    name = f'{Path(sample.img_path).stem}_{"truth" if truth else "prediction"}'
    runner.visualizer.add_datasample(
        name, image, sample, draw_gt=truth, draw_pred=not truth, **settings
    )
    return runner.visualizer.get_image()


def dump_metric(path: str) -> 'BaseMetric':
    """A metric of mmengine that saves the predictions as a pickle."""
    from mmengine.evaluator import DumpResults

    return DumpResults(out_file_path=path)


def percent(value: Any) -> str:
    """A fraction as papers print it; ``'none'`` for ``None``."""
    return 'none' if value is None else f'{100 * value:.1f}'
