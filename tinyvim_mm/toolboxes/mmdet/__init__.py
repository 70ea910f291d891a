"""Detection and instance segmentation: COCO, and its shipped photographs."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Tuple

from ...core.errors import UsageError
from ...core.paths import SAMPLE_COCO, shown
from ..common import (
    COMMON_CHANGES,
    SEEN_LABEL,
    UNSEEN_LABEL,
    Change,
    FullData,
    Photographs,
    Score,
    changes_of_weights,
    check_sample,
    percent,
)

if TYPE_CHECKING:
    import numpy as np
    from mmdet.structures import DetDataSample
    from mmengine.config import Config
    from mmengine.evaluator import BaseMetric
    from mmengine.runner import Runner
    from torch.utils.data import Dataset

    from ...visualization.sheet import Row

LAYOUTS: Dict[str, str] = {
    'CocoDataset': 'COCO 2017 (https://cocodataset.org) is expected at {root}/ with this layout:\n'
    '  annotations/instances_train2017.json, annotations/instances_val2017.json\n'
    '  train2017/*.jpg, val2017/*.jpg\n'
    'A link serves: ln -s /where/you/have/coco {root}'
}
# mmdet reads the photographs of train2017 that have annotations.
FULL_DATA = {'CocoDataset': FullData('COCO', 117_266)}
SCORES = (
    Score('coco/bbox_mAP', 'Object Detection', 'box AP', 100),
    Score('coco/segm_mAP', 'Instance Segmentation', 'mask AP', 100),
)
SEEN = Photographs('train2017', SEEN_LABEL)
UNSEEN = Photographs('val2017', UNSEEN_LABEL)

# Predictions below it are not drawn; mmdet's visualization hook has the same.
SCORE_THRESHOLD = 0.3

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


def score_line(found: Dict[str, Any]) -> str:
    """Box and mask AP; ``none`` where the network predicted no object at all."""
    # mmdet leaves the keys out then, and for masks if the network draws none.
    kinds = [('box', 'bbox'), ('mask', 'segm')]
    if any('segm' in key for key in found) != any('bbox' in key for key in found):
        kinds = [kind for kind in kinds if any(kind[1] in key for key in found)]
    scores = [
        f'{name} {measure} {percent(found.get(f"coco/{key}_{suffix}"))}'
        for name, key in kinds
        for measure, suffix in (('AP', 'mAP'), ('AP50', 'mAP_50'))
    ]
    line = ', '.join(scores)
    return f'{line} (none: the network predicted no object at all)' if 'none' in line else line


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


def draw_row(runner: 'Runner', sample: 'DetDataSample', label: str) -> 'Row':
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    import mmcv

    from ...visualization.sheet import Row

    image = mmcv.imread(sample.img_path, channel_order='rgb')
    drawn = int((sample.pred_instances.scores > SCORE_THRESHOLD).sum())
    return Row(
        truth=_draw(runner, image, sample, truth=True),
        prediction=_draw(runner, image, sample, truth=False),
        truth_caption=f'{len(sample.gt_instances)} objects; one of the {label}',
        prediction_caption=f'{drawn} predicted with a score above {SCORE_THRESHOLD}'
        if drawn
        else f'nothing predicted with a score above {SCORE_THRESHOLD}',
    )


def _draw(
    runner: 'Runner', image: 'np.ndarray', sample: 'DetDataSample', truth: bool
) -> 'np.ndarray':
    visualizer = runner.visualizer
    with warnings.catch_warnings():
        # Objects touch the border of a photograph as a matter of course.
        warnings.filterwarnings('ignore', message='.*out of bounds')
        visualizer.add_datasample(
            f'{Path(sample.img_path).stem}_{"truth" if truth else "prediction"}',
            image,
            sample,
            draw_gt=truth,
            draw_pred=not truth,
            pred_score_thr=SCORE_THRESHOLD,
        )
    return visualizer.get_image()


def show_predictions(cfg: 'Config', hook: dict, folder: Optional[str]) -> None:
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    hook['draw'] = True
    if folder:
        # The hook puts relative folders below the work dir: this one is absolute.
        hook['test_out_dir'] = folder


def dump_metric(path: str) -> 'BaseMetric':
    """The one of mmdet, which encodes masks; plain ones would fill the disk."""
    from mmdet.evaluation import DumpDetResults

    return DumpDetResults(out_file_path=path)
