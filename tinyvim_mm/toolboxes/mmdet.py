"""Detection and instance segmentation on COCO; see :class:`tinyvim_mm.toolboxes.Toolbox`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np

from ..core.errors import UsageError
from ..core.paths import SAMPLE_COCO, shown
from . import common
from .common import Change, FullData, Score
from .predictor import Predictor, describe_objects

if TYPE_CHECKING:
    from mmdet.structures import DetDataSample
    from mmengine.config import Config
    from mmengine.evaluator import BaseMetric
    from mmengine.runner import Runner
    from torch import Tensor, nn
    from torch.utils.data import Dataset

    from ..visualization.sheet import Row

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
SEEN, UNSEEN = common.photographs('train2017', 'val2017')

# Predictions below it are not drawn; mmdet's visualization hook has the same.
SCORE_THRESHOLD = 0.3
PASSES_PER_EPOCH = 3
MOST_EPOCHS = 36  # a 3x schedule
_CPU = 'what a CPU can process'
_TRANSFORMS = {
    # Measured on 2 CPU cores. The recipe's scale is 1333x800.
    'Resize': ('scale', (320, 192), _CPU),
    'RandomFlip': ('prob', 0.0, 'too few steps to see each photograph both ways'),
}
_CHANGES = (
    Change('train_dataloader.batch_size', 2, 'more steps rather than larger ones'),
    *common.CHANGES,
    Change('default_hooks.logger.interval', 6, 'a run of some hundred steps shall show progress'),
    Change('log_processor.window_size', 6, 'each point of the curves averages its own steps'),
    Change('default_hooks.checkpoint.interval', 4, 'a checkpoint holds hundreds of megabytes'),
)


def sample_changes(cfg: 'Config', config_path: Path) -> Iterator[Change]:
    common.check_sample(cfg, config_path, 'CocoDataset', SAMPLE_COCO)
    _check_length(cfg, config_path)
    where = 'the shipped photographs, laid out as COCO'
    for split in ('train', 'test'):
        yield Change(f'{split}_dataloader.dataset.data_root', f'{SAMPLE_COCO}/', where)
        yield from common.changes_of_transforms(cfg, split, _TRANSFORMS)
    annotations = SAMPLE_COCO / cfg.test_dataloader.dataset.ann_file
    yield Change('test_evaluator.ann_file', str(annotations), where)
    dataset = cfg.train_dataloader.dataset
    yield Change(
        'train_dataloader.dataset',
        dict(_delete_=True, type='RepeatDataset', times=PASSES_PER_EPOCH, dataset=dataset),
        'several passes over the photographs make an epoch: the schedule in epochs stays',
    )
    for index, scheduler in enumerate(cfg.param_scheduler):
        if scheduler.type == 'LinearLR' and not scheduler.get('by_epoch', True):
            yield Change(f'param_scheduler.{index}.end', 20, 'warm-up of a shorter training')
    yield from _fewer_proposals(cfg.model)
    yield from _CHANGES
    yield from common.changes_of_weights(cfg)


def _fewer_proposals(model: 'Config') -> Iterator[Change]:
    settings = model.get('train_cfg') or {}
    stages = settings.get('rcnn')
    keys = [f'.{i}' for i in range(len(stages))] if isinstance(stages, (list, tuple)) else ['']
    for key in keys if stages is not None else ():  # several of a cascade
        reason = 'the heads take most of the time of a step'
        yield Change(f'model.train_cfg.rcnn{key}.sampler.num', 64, reason)
    if 'rpn_proposal' in settings:
        reason = 'small images have fewer anchors'
        yield Change('model.train_cfg.rpn_proposal.nms_pre', 500, reason)
        yield Change('model.train_cfg.rpn_proposal.max_per_img', 500, reason)
        yield Change('model.test_cfg.rpn.max_per_img', 300, reason)


def _check_length(cfg: 'Config', config_path: Path) -> None:
    epochs = cfg.train_cfg.get('max_epochs')
    if epochs is None or epochs > MOST_EPOCHS:
        length = f'{epochs} epochs' if epochs else f'{cfg.train_cfg.get("max_iters")} iterations'
        raise UsageError(
            f'--sample keeps the schedule, and that of {shown(config_path)} ({length}) would take '
            'a CPU days: try a config with a 1x schedule, or run it on its own data, without '
            '--sample'
        )


def read_training_photographs(cfg: 'Config', dataloader: 'Config', evaluator: 'Config') -> None:
    seen = cfg.train_dataloader.dataset.dataset
    dataloader.dataset = dict(
        dataloader.dataset, ann_file=seen.ann_file, data_prefix=seen.data_prefix
    )
    evaluator.ann_file = str(Path(seen.data_root) / seen.ann_file)


def score_line(found: Dict[str, Any]) -> str:
    """Box and mask AP; ``none`` where the network predicted no object at all."""
    # mmdet leaves the keys out then, and for masks if the network draws none.
    kinds = [('box', 'bbox'), ('mask', 'segm')]
    if any('segm' in key for key in found) != any('bbox' in key for key in found):
        kinds = [kind for kind in kinds if any(kind[1] in key for key in found)]
    scores = []
    for name, key in kinds:
        for measure, suffix in (('AP', 'mAP'), ('AP50', 'mAP_50')):
            value = found.get(f'coco/{key}_{suffix}')
            scores.append(f'{name} {measure} {"none" if value is None else f"{100 * value:.1f}"}')
    line = ', '.join(scores)
    return f'{line} (none: the network predicted no object at all)' if 'none' in line else line


def dump_metric(path: str) -> 'BaseMetric':
    """The one of mmdet, which encodes masks; plain ones would fill the disk."""
    from mmdet.evaluation import DumpDetResults

    return DumpDetResults(out_file_path=path)


def pick_photographs(dataset: 'Dataset', number: int) -> List[int]:
    """Those with the largest single objects."""

    def largest(index: int) -> float:
        info = dataset.get_data_info(index)
        boxes = [i['bbox'] for i in info['instances'] if not i['ignore_flag']]
        areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes]
        return max(areas, default=0.0) / (info['width'] * info['height'])

    return sorted(range(len(dataset)), key=largest, reverse=True)[:number]


def draw_row(runner: 'Runner', sample: 'DetDataSample', label: str) -> 'Row':
    drawn = int((sample.pred_instances.scores > SCORE_THRESHOLD).sum())
    return common.draw_row(
        runner,
        sample,
        f'{len(sample.gt_instances)} objects; one of the {label}',
        f'{drawn or "nothing"} predicted with a score above {SCORE_THRESHOLD}',
        pred_score_thr=SCORE_THRESHOLD,
    )


def show_predictions(cfg: 'Config', hook: dict, folder: Optional[str]) -> None:
    hook['draw'] = True
    if folder:
        # The hook puts relative folders below the work dir: this one is absolute.
        hook['test_out_dir'] = folder


def run_network(model: 'nn.Module', network: 'Callable[[Tensor], Tensor]') -> None:
    raise UsageError('detectors have no logits from which scores could be computed')


class Detector(Predictor):
    """Objects, with boxes and masks."""

    task = 'detection'

    def make_inferencer(self, cfg: 'Config', device: str) -> Any:
        from mmdet.apis import DetInferencer

        return DetInferencer(cfg, device=device, show_progress=False)

    @property
    def settings(self) -> Dict[str, Any]:
        return {'score_threshold': self.score_thr}

    def num_classes(self) -> Optional[int]:
        head = getattr(self.model, 'roi_head', self.model)
        head = getattr(head, 'bbox_head', None)
        if hasattr(head, '__getitem__'):  # of a cascade
            head = head[-1]
        return getattr(head, 'num_classes', None)

    def use_names(self, palette: Optional[Sequence[tuple]]) -> None:
        meta = {'classes': self.classes, 'palette': list(palette) if palette else 'random'}
        self.model.dataset_meta = self.inferencer.visualizer.dataset_meta = meta

    def predict(self, image: np.ndarray) -> 'DetDataSample':
        return self.inferencer(image, return_datasamples=True)['predictions'][0].cpu()

    def draw(self, image: np.ndarray, sample: 'DetDataSample') -> np.ndarray:
        return self.draw_over(image, sample, pred_score_thr=self.score_thr)

    def describe(self, sample: 'DetDataSample') -> Dict[str, Any]:
        found = sample.pred_instances
        found = found[found.scores > self.score_thr]
        masks = np.asarray(found.masks) if 'masks' in found else None
        numbers = (found.labels.numpy(), found.scores.numpy(), found.bboxes.numpy())
        return describe_objects(*numbers, masks, self.classes, sample.ori_shape)


PREDICTOR = Detector
