"""``--sample`` of a segmentor: shipped photographs, laid out as ADE20K."""

from pathlib import Path
from typing import TYPE_CHECKING, Iterator, List, Tuple

from ...core.paths import SAMPLE_ADE
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

SEEN = Photographs('training', SEEN_LABEL)
UNSEEN = Photographs('validation', UNSEEN_LABEL)
# Measured on 2 CPU cores. The recipe scales the shorter side to 512 pixels and
# cuts squares of 512.
IMAGE_SCALE = (640, 160)
CROP_SIZE = (160, 160)
ITERATIONS = 800
_CHANGES: Tuple[Change, ...] = (
    Change('train_dataloader.batch_size', 2, 'more steps rather than larger ones'),
    *COMMON_CHANGES,
    Change('default_hooks.checkpoint.interval', ITERATIONS // 2, 'of a shorter training'),
    Change('default_hooks.logger.interval', 10, 'a run of some hundred steps shall show progress'),
    Change('log_processor.window_size', 10, 'each point of the curves averages its own steps'),
    Change('visualizer.alpha', 0.6, 'the photograph shall be seen below its labels'),
)


def sample_changes(cfg: 'Config', config_path: Path) -> Iterator[Change]:
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    check_sample(cfg, config_path, 'ADE20KDataset', SAMPLE_ADE)
    check_loop(cfg, config_path, 'max_iters')
    for split in ('train', 'test'):
        key = f'{split}_dataloader.dataset'
        where = 'the shipped photographs, laid out as ADE20K'
        yield Change(f'{key}.data_root', str(SAMPLE_ADE), where)
        for index, transform in enumerate(cfg[f'{split}_dataloader'].dataset.pipeline):
            place = f'{key}.pipeline.{index}'
            if transform.type in ('Resize', 'RandomResize'):
                yield Change(f'{place}.scale', IMAGE_SCALE, 'what a CPU can process')
            elif transform.type == 'RandomCrop':
                yield Change(f'{place}.crop_size', CROP_SIZE, 'as above')
            elif transform.type == 'RandomFlip':
                yield Change(f'{place}.prob', 0.0, 'too few steps to see each picture both ways')
    yield Change('model.data_preprocessor.size', CROP_SIZE, 'the crops have this size')
    yield from _shorter_schedule(cfg)
    yield from _CHANGES
    yield from changes_of_weights(cfg)


def _shorter_schedule(cfg: 'Config') -> Iterator[Change]:
    """Fewer iterations, with the learning rate falling in the same shape."""
    factor = ITERATIONS / cfg.train_cfg.max_iters
    for index, scheduler in enumerate(cfg.param_scheduler):
        for bound in ('begin', 'end'):
            if scheduler.get(bound):
                shorter = max(1, round(scheduler[bound] * factor))
                key = f'param_scheduler.{index}.{bound}'
                yield Change(key, shorter, 'the same schedule in fewer iterations')
    yield Change('train_cfg.max_iters', ITERATIONS, 'a few minutes on two cores')


def read_training_photographs(cfg: 'Config', dataloader: 'Config', evaluator: 'Config') -> None:
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    seen = cfg.train_dataloader.dataset
    dataloader.dataset = {
        **dataloader.dataset,
        'data_root': seen.data_root,
        'data_prefix': seen.data_prefix,
    }


def pick_photographs(dataset: 'Dataset', number: int) -> List[int]:
    """Those with the most labelled pixels, relative to their size."""
    from mmcv import imread

    def labelled(index: int) -> float:
        labels = imread(dataset.get_data_info(index)['seg_map_path'], flag='unchanged')
        return float((labels > 0).mean())

    return sorted(range(len(dataset)), key=labelled, reverse=True)[:number]
