"""``--sample`` of a classifier: shipped crops of photographs, laid out as ImageNet."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, Tuple

from ...core.paths import SAMPLE_IMAGENET
from ..common import (
    COMMON_CHANGES,
    SEEN_LABEL,
    UNSEEN_LABEL,
    Change,
    Photographs,
    changes_of_weights,
    check_loop,
    check_sample,
)

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch.utils.data import Dataset

SEEN = Photographs('train', SEEN_LABEL)
UNSEEN = Photographs('val', UNSEEN_LABEL)
# Measured on 2 CPU cores. The recipe crops 224 of 248 pixels.
CROP_SIZE = 112
RESIZED_EDGE = 124
EPOCHS = 100
_WHERE = 'the shipped crops of photographs, laid out as ImageNet'
_CHANGES: Tuple[Change, ...] = (
    Change('model.distillation', None, 'the teacher knows the 1000 classes of ImageNet only'),
    Change('model.train_cfg', None, 'too few steps to learn from mixed pictures'),
    Change('train_dataloader.batch_size', 7, 'half of the pictures: two steps an epoch'),
    Change('optim_wrapper.optimizer.lr', 5e-4, 'of a small batch'),
    *COMMON_CHANGES,
    Change('default_hooks.logger.interval', 2, 'a run of some hundred steps shall show progress'),
    Change('log_processor', dict(window_size=10), 'the curves shall follow a short training'),
    Change('default_hooks.checkpoint.interval', EPOCHS // 2, 'a checkpoint holds many megabytes'),
)


def sample_changes(cfg: 'Config', config_path: Path) -> Iterator[Change]:
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    check_sample(cfg, config_path, 'ImageNet', SAMPLE_IMAGENET)
    check_loop(cfg, config_path, 'max_epochs')
    classes = sorted(folder.name for folder in (SAMPLE_IMAGENET / 'train').iterdir())
    for split in ('train', 'test'):
        key = f'{split}_dataloader.dataset'
        yield Change(f'{key}.data_root', str(SAMPLE_IMAGENET), _WHERE)
        yield Change(f'{key}.metainfo', dict(classes=classes), 'their classes')
    yield Change('data_preprocessor.num_classes', len(classes), 'as above')
    yield Change('model.head.num_classes', len(classes), 'as above')
    yield from _smaller_pictures(cfg)
    yield Change(
        'train_dataloader.sampler',
        dict(_delete_=True, type='DefaultSampler', shuffle=True),
        'repeated augmentation would leave two thirds of the pictures out of an epoch',
    )
    yield from _shorter_schedule(cfg)
    for index, hook in enumerate(cfg.get('custom_hooks', [])):
        if hook.type == 'EMAHook':
            reason = 'an average of the last steps, as there are no 25,000'
            yield Change(f'custom_hooks.{index}.momentum', 0.1, reason)
    yield from _CHANGES
    yield from changes_of_weights(cfg)


def _smaller_pictures(cfg: 'Config') -> Iterator[Change]:
    for split in ('train', 'test'):
        pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
        for place, transform in _steps(pipeline, f'{split}_dataloader.dataset.pipeline'):
            if transform.type == 'RandomResizedCrop':
                yield Change(f'{place}.scale', CROP_SIZE, 'what a CPU can process')
            elif transform.type == 'ResizeEdge':
                yield Change(f'{place}.scale', RESIZED_EDGE, 'what a CPU can process')
            elif transform.type == 'CenterCrop':
                yield Change(f'{place}.crop_size', CROP_SIZE, 'what a CPU can process')
            elif transform.type == 'RandAugment':
                yield Change(f'{place}.magnitude_level', 2, 'too few steps for more variety')
            elif transform.type == 'RandomErasing':
                yield Change(f'{place}.erase_prob', 0.0, 'as above')


def _steps(pipeline: List[Any], place: str) -> Iterator[Tuple[str, Any]]:
    """Transforms of a pipeline with their places, those among which one is drawn too."""
    for index, step in enumerate(pipeline):
        if isinstance(step, list):
            yield from _steps(step, f'{place}.{index}')
        elif 'transforms' in step:
            yield from _steps(step['transforms'], f'{place}.{index}.transforms')
        else:
            yield f'{place}.{index}', step


def _shorter_schedule(cfg: 'Config') -> Iterator[Change]:
    epochs = cfg.train_cfg.max_epochs
    for index, scheduler in enumerate(cfg.param_scheduler):
        if scheduler.get('end') == epochs:
            yield Change(f'param_scheduler.{index}.end', EPOCHS, 'the schedule in fewer epochs')
    yield Change('train_cfg.max_epochs', EPOCHS, 'a few minutes on two cores')


def read_training_photographs(cfg: 'Config', dataloader: 'Config', evaluator: 'Config') -> None:
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    dataloader.dataset = {**dataloader.dataset, 'split': cfg.train_dataloader.dataset.split}


def pick_photographs(dataset: 'Dataset', number: int) -> List[int]:
    """The first of each class, then the second of each, and so on."""
    labels = [dataset.get_data_info(index)['gt_label'] for index in range(len(dataset))]
    turns = [labels[:index].count(label) for index, label in enumerate(labels)]
    return sorted(range(len(labels)), key=lambda index: (turns[index], labels[index]))[:number]
