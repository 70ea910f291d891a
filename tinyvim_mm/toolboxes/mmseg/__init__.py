"""Semantic segmentation: ADE20K, and shipped photographs in its layout."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Tuple

from ...core.paths import PROJECT_ROOT
from ..common import (
    COMMON_CHANGES,
    SEEN_LABEL,
    UNSEEN_LABEL,
    Change,
    FullData,
    Photographs,
    Score,
    changes_of_weights,
    check_loop,
    check_sample,
    dump_metric,
)

if TYPE_CHECKING:
    import numpy as np
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmseg.structures import SegDataSample
    from torch.utils.data import Dataset

    from ...visualization.sheet import Row

SAMPLE_ADE = PROJECT_ROOT / 'data' / 'sample' / 'ade' / 'ADEChallengeData2016'

LAYOUTS: Dict[str, str] = {
    'ADE20KDataset': 'ADE20K (https://sceneparsing.csail.mit.edu, ADEChallengeData2016.zip) is '
    'expected at {root}/ with this layout:\n'
    '  images/training/*.jpg, images/validation/*.jpg\n'
    '  annotations/training/*.png, annotations/validation/*.png\n'
    'A link serves: ln -s /where/you/have/ADEChallengeData2016 {root}'
}
FULL_DATA = {'ADE20KDataset': FullData('ADE20K', 20_210)}
SCORES = (Score('mIoU', 'Semantic Segmentation', 'mIoU'),)
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


def score_line(found: Dict[str, Any]) -> str:
    """The mean IoU and the part of the pixels that are right; mmseg gives them in percent."""
    return (
        f'mIoU {found["mIoU"]:.1f} over the classes that occur in ground truth or prediction, '
        f'{found["aAcc"]:.1f} % of the labelled pixels right'
    )


def pick_photographs(dataset: 'Dataset', number: int) -> List[int]:
    """Those with the most labelled pixels, relative to their size."""
    from mmcv import imread

    def labelled(index: int) -> float:
        labels = imread(dataset.get_data_info(index)['seg_map_path'], flag='unchanged')
        return float((labels > 0).mean())

    return sorted(range(len(dataset)), key=labelled, reverse=True)[:number]


def draw_row(runner: 'Runner', sample: 'SegDataSample', label: str) -> 'Row':
    """See :class:`tinyvim_mm.toolboxes.Toolbox`.

    The prediction is drawn where there is ground truth: of the other pixels
    the network learned nothing, and nobody can say whether it is right.
    """
    import mmcv

    from ...visualization.sheet import Row

    sample = sample.cpu()
    ignored = runner.model.decode_head.ignore_index
    truth, prediction = sample.gt_sem_seg.data, sample.pred_sem_seg.data
    labelled = truth != ignored
    right = (prediction == truth)[labelled].float().mean().item() if labelled.any() else 0.0
    sample.pred_sem_seg.data = prediction.where(labelled, prediction.new_tensor(ignored))
    classes = runner.visualizer.dataset_meta['classes']
    names = ', '.join(classes[number].strip() for number in truth[labelled].unique().tolist())
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    return Row(
        truth=_draw(runner, image, sample, truth=True),
        prediction=_draw(runner, image, sample, truth=False),
        truth_caption=f'{names or "nothing labelled"};\none of the {label}',
        prediction_caption=f'{100 * right:.0f} % of the labelled pixels right;\n'
        'the other pixels are neither trained nor scored',
    )


def _draw(
    runner: 'Runner', image: 'np.ndarray', sample: 'SegDataSample', truth: bool
) -> 'np.ndarray':
    visualizer = runner.visualizer
    visualizer.add_datasample(
        f'{Path(sample.img_path).stem}_{"truth" if truth else "prediction"}',
        image,
        sample,
        draw_gt=truth,
        draw_pred=not truth,
    )
    return visualizer.get_image()


def show_predictions(cfg: 'Config', hook: dict, folder: Optional[str]) -> None:
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    # Every picture: mmseg 1.2 draws one in fifty of a test.
    hook.update(draw=True, interval=1)
    if folder:
        # The hook leaves the folder to the visualizer.
        cfg.visualizer.save_dir = folder


__all__ = [
    'FULL_DATA',
    'LAYOUTS',
    'SCORES',
    'SEEN',
    'UNSEEN',
    'draw_row',
    'dump_metric',
    'pick_photographs',
    'read_training_photographs',
    'sample_changes',
    'score_line',
    'show_predictions',
]
