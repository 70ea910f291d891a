"""``--sample`` of a detector: shipped photographs, laid out as COCO."""

from pathlib import Path
from typing import TYPE_CHECKING, Iterator, List, Tuple

from ...core.errors import UsageError
from ...core.paths import SAMPLE_COCO, shown
from ..common import (
    COMMON_CHANGES,
    SEEN_LABEL,
    UNSEEN_LABEL,
    Change,
    Photographs,
    changes_of_weights,
    check_sample,
)

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch.utils.data import Dataset

SEEN = Photographs('train2017', SEEN_LABEL)
UNSEEN = Photographs('val2017', UNSEEN_LABEL)
# Measured on 2 CPU cores. The scale is the recipe's 1333x800, about a quarter
# of each side.
IMAGE_SCALE = (320, 192)
PASSES_PER_EPOCH = 3
WARM_UP_STEPS = 20
# A 3x schedule.
MOST_EPOCHS = 36
_CHANGES: Tuple[Change, ...] = (
    Change('train_dataloader.batch_size', 2, 'more steps rather than larger ones'),
    *COMMON_CHANGES,
    Change('default_hooks.logger.interval', 6, 'a run of some hundred steps shall show progress'),
    Change('log_processor.window_size', 6, 'each point of the curves averages its own steps'),
    Change('default_hooks.checkpoint.interval', 4, 'a checkpoint holds hundreds of megabytes'),
)


def sample_changes(cfg: 'Config', config_path: Path) -> Iterator[Change]:
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    check_sample(cfg, config_path, 'CocoDataset', SAMPLE_COCO)
    _check_length(cfg, config_path)
    where = 'the shipped photographs, laid out as COCO'
    for split in ('train', 'test'):
        key = f'{split}_dataloader.dataset'
        yield Change(f'{key}.data_root', f'{SAMPLE_COCO}/', where)
        for index, transform in enumerate(cfg[f'{split}_dataloader'].dataset.pipeline):
            if transform.type == 'Resize':
                scale = f'{key}.pipeline.{index}.scale'
                yield Change(scale, IMAGE_SCALE, 'what a CPU can process')
            elif transform.type == 'RandomFlip':
                prob = f'{key}.pipeline.{index}.prob'
                yield Change(prob, 0.0, 'too few steps to see each photograph both ways')
    annotations = SAMPLE_COCO / cfg.test_dataloader.dataset.ann_file
    yield Change('test_evaluator.ann_file', str(annotations), where)
    yield Change(
        'train_dataloader.dataset',
        dict(
            _delete_=True,
            type='RepeatDataset',
            times=PASSES_PER_EPOCH,
            dataset=cfg.train_dataloader.dataset,
        ),
        'several passes over the photographs make an epoch: the schedule in epochs stays',
    )
    for index, scheduler in enumerate(cfg.param_scheduler):
        if scheduler.type == 'LinearLR' and not scheduler.get('by_epoch', True):
            yield Change(
                f'param_scheduler.{index}.end', WARM_UP_STEPS, 'warm-up of a shorter training'
            )
    yield from _fewer_proposals(cfg.model)
    yield from _CHANGES
    yield from changes_of_weights(cfg)


def _fewer_proposals(model: 'Config') -> Iterator[Change]:
    settings = model.get('train_cfg') or {}
    reason = 'the heads take most of the time of a step'
    stages = settings.get('rcnn')
    if isinstance(stages, (list, tuple)):  # of a cascade
        for index in range(len(stages)):
            yield Change(f'model.train_cfg.rcnn.{index}.sampler.num', 64, reason)
    elif stages is not None:
        yield Change('model.train_cfg.rcnn.sampler.num', 64, reason)
    if 'rpn_proposal' in settings:
        reason = 'small images have fewer anchors'
        yield Change('model.train_cfg.rpn_proposal.nms_pre', 500, reason)
        yield Change('model.train_cfg.rpn_proposal.max_per_img', 500, reason)
        yield Change('model.test_cfg.rpn.max_per_img', 300, reason)


def _check_length(cfg: 'Config', config_path: Path) -> None:
    epochs = cfg.train_cfg.get('max_epochs')
    if epochs is None or epochs > MOST_EPOCHS:
        raise UsageError(
            f'--sample keeps the schedule, and that of {shown(config_path)} '
            f'({epochs or cfg.train_cfg.get("max_iters")} '
            f'{"epochs" if epochs else "iterations"}) would take a CPU days: '
            'try a config with a 1x schedule, or run it on its own data, without --sample'
        )


def read_training_photographs(cfg: 'Config', dataloader: 'Config', evaluator: 'Config') -> None:
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    seen = cfg.train_dataloader.dataset.dataset
    dataloader.dataset = {
        **dataloader.dataset,
        'ann_file': seen.ann_file,
        'data_prefix': seen.data_prefix,
    }
    evaluator.ann_file = str(Path(seen.data_root) / seen.ann_file)


def pick_photographs(dataset: 'Dataset', number: int) -> List[int]:
    """Those with the largest single objects."""

    def largest(index: int) -> float:
        info = dataset.get_data_info(index)
        areas = [
            (x2 - x1) * (y2 - y1)
            for x1, y1, x2, y2 in (i['bbox'] for i in info['instances'] if not i['ignore_flag'])
        ]
        return max(areas, default=0.0) / (info['width'] * info['height'])

    return sorted(range(len(dataset)), key=largest, reverse=True)[:number]
