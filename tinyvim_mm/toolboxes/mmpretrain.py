"""Classification on ImageNet; see :class:`tinyvim_mm.toolboxes.Toolbox`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

import numpy as np

from ..core.paths import SAMPLE_IMAGENET
from . import common
from .common import Change, FullData, Score
from .predictor import LEAST_SIDE, Predictor, describe_top

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmpretrain.structures import DataSample
    from torch import Tensor, nn
    from torch.utils.data import Dataset

    from ..visualization.sheet import Row

LAYOUTS: Dict[str, str] = {
    'ImageNet': 'ImageNet-1K (https://image-net.org, ILSVRC2012) is expected at {root}/ with one '
    'folder per class:\n'
    '  train/n01440764/*.JPEG ..., val/n01440764/*.JPEG ...\n'
    'A link serves: ln -s /where/you/have/imagenet {root}',
    'Imagenette': 'Imagenette v2 (https://github.com/fastai/imagenette, imagenette2-160.tgz) is '
    'expected at {root}/ with one folder per class:\n'
    '  train/n01440764/*.JPEG ..., val/n01440764/*.JPEG ...\n'
    'A link serves: ln -s /where/you/have/imagenette2-160 {root}',
}
FULL_DATA = {
    'ImageNet': FullData('ImageNet-1k', 1_281_167),
    'Imagenette': FullData('Imagenette', 9_469),
}
SCORES = (
    Score('accuracy/top1', 'Image Classification', 'Top 1 Accuracy'),
    Score('accuracy/top5', 'Image Classification', 'Top 5 Accuracy'),
)
SEEN, UNSEEN = common.photographs('train', 'val')

EPOCHS = 100
_TRANSFORMS = {
    # Measured on 2 CPU cores. The recipe crops 224 of 248 pixels.
    'RandomResizedCrop': ('scale', 112, 'what a CPU can process'),
    'ResizeEdge': ('scale', 124, 'what a CPU can process'),
    'CenterCrop': ('crop_size', 112, 'what a CPU can process'),
    'RandAugment': ('magnitude_level', 2, 'too few steps for more variety'),
    'RandomErasing': ('erase_prob', 0.0, 'as above'),
}
_CHANGES = (
    Change('model.distillation', None, 'the teacher knows the 1000 classes of ImageNet only'),
    Change('model.train_cfg', None, 'too few steps to learn from mixed pictures'),
    Change('train_dataloader.batch_size', 7, 'half of the pictures: two steps an epoch'),
    Change('optim_wrapper.optimizer.lr', 5e-4, 'of a small batch'),
    *common.CHANGES,
    Change('default_hooks.logger.interval', 2, 'a run of some hundred steps shall show progress'),
    Change('log_processor', dict(window_size=10), 'the curves shall follow a short training'),
    Change('default_hooks.checkpoint.interval', EPOCHS // 2, 'a checkpoint holds many megabytes'),
)


def sample_changes(cfg: 'Config', config_path: Path) -> Iterator[Change]:
    common.check_sample(cfg, config_path, 'ImageNet', SAMPLE_IMAGENET)
    common.check_loop(cfg, config_path, 'max_epochs')
    classes = sorted(folder.name for folder in (SAMPLE_IMAGENET / 'train').iterdir())
    where = 'the shipped crops of photographs, laid out as ImageNet'
    for split in ('train', 'test'):
        key = f'{split}_dataloader.dataset'
        yield Change(f'{key}.data_root', str(SAMPLE_IMAGENET), where)
        yield Change(f'{key}.metainfo', dict(classes=classes), 'their classes')
    yield Change('data_preprocessor.num_classes', len(classes), 'as above')
    yield Change('model.head.num_classes', len(classes), 'as above')
    for split in ('train', 'test'):
        yield from common.changes_of_transforms(cfg, split, _TRANSFORMS)
    yield Change(
        'train_dataloader.sampler',
        dict(_delete_=True, type='DefaultSampler', shuffle=True),
        'repeated augmentation would leave two thirds of the pictures out of an epoch',
    )
    for index, scheduler in enumerate(cfg.param_scheduler):
        if scheduler.get('end') == cfg.train_cfg.max_epochs:
            yield Change(f'param_scheduler.{index}.end', EPOCHS, 'the schedule in fewer epochs')
    yield Change('train_cfg.max_epochs', EPOCHS, 'a few minutes on two cores')
    for index, hook in enumerate(cfg.get('custom_hooks', [])):
        if hook.type == 'EMAHook':
            reason = 'an average of the last steps, as there are no 25,000'
            yield Change(f'custom_hooks.{index}.momentum', 0.1, reason)
    yield from _CHANGES
    yield from common.changes_of_weights(cfg)


def read_training_photographs(cfg: 'Config', dataloader: 'Config', evaluator: 'Config') -> None:
    dataloader.dataset = dict(dataloader.dataset, split=cfg.train_dataloader.dataset.split)


def score_line(found: Dict[str, Any]) -> str:
    """The top-1 accuracy; mmpretrain gives it in percent."""
    return f'{found["accuracy/top1"]:.1f} % top-1 accuracy'


dump_metric = common.dump_metric


def pick_photographs(dataset: 'Dataset', number: int) -> List[int]:
    """The first of each class, then the second of each, and so on."""
    labels = [dataset.get_data_info(index)['gt_label'] for index in range(len(dataset))]
    turns = [labels[:index].count(label) for index, label in enumerate(labels)]
    return sorted(range(len(labels)), key=lambda index: (turns[index], labels[index]))[:number]


def draw_row(runner: 'Runner', sample: 'DataSample', label: str) -> 'Row':
    """The photograph, and the three likeliest classes."""
    from mmcv import imread

    from ..visualization.sheet import Row

    classes = runner.visualizer.dataset_meta['classes']
    image, name = imread(sample.img_path, channel_order='rgb'), Path(sample.img_path).stem
    scores, labels = sample.pred_score.cpu().topk(min(3, len(classes)))
    best = [f'{classes[i]} {s:.2f}' for s, i in zip(scores.tolist(), labels.tolist(), strict=True)]
    truth = ', '.join(classes[i] for i in sample.gt_label.tolist())
    drawn = runner.visualizer.visualize_cls(
        image, sample.cpu(), resize=224, draw_gt=False, name=name
    )
    return Row(image, drawn, f'{truth};\none of the {label}', ', '.join(best))


def show_predictions(cfg: 'Config', hook: dict, folder: Optional[str]) -> None:
    hook.update(enable=True, interval=1)
    if folder:
        hook['out_dir'] = folder


def run_network(model: 'nn.Module', network: 'Callable[[Tensor], Tensor]') -> None:
    def predict(inputs: 'Tensor', data_samples: Optional[list] = None) -> list:
        from mmpretrain.structures import DataSample

        scores = network(inputs).softmax(1)
        samples = data_samples or [DataSample() for _ in scores]
        for sample, score in zip(samples, scores, strict=True):
            sample.set_pred_score(score).set_pred_label(score.argmax().detach())
        return samples

    model.predict = predict


class Classifier(Predictor):
    """Classes of whole pictures."""

    task = 'classification'

    @staticmethod
    def fit_config(cfg: 'Config', state: Mapping[str, 'Tensor']) -> None:
        """Give the head as many classes and linear layers as the checkpoint has."""
        # In the layouts of this project and of the release.
        keys = [key for key in ('head.head.weight', 'head.weight') if key in state]
        if keys:
            cfg.model.head.num_classes = len(state[keys[0]])
        # Trained without a teacher, as --sample does, it has a single layer.
        second = ('head.dist_head.weight', 'dist_head.weight')
        if cfg.model.get('distillation') and not any(key in state for key in second):
            cfg.model.distillation = None

    def make_inferencer(self, cfg: 'Config', device: str) -> Any:
        from mmpretrain import ImageClassificationInferencer

        return ImageClassificationInferencer(cfg, pretrained=False, device=device)

    @property
    def settings(self) -> Dict[str, Any]:
        return {'top_k': min(self.top_k, len(self.classes))}

    def num_classes(self) -> Optional[int]:
        return self.inferencer.config.model.head.num_classes

    def use_names(self, palette: Optional[Sequence[tuple]]) -> None:
        from mmpretrain.visualization import UniversalVisualizer

        self.inferencer.classes = list(self.classes)
        self.inferencer.visualizer = UniversalVisualizer()

    def predict(self, image: np.ndarray) -> 'DataSample':
        # Calling the inferencer would show a bar for each picture.
        (data,) = self.inferencer.preprocess([image])
        return self.inferencer.forward(data)[0].cpu()

    def draw(self, image: np.ndarray, sample: 'DataSample') -> np.ndarray:
        drawn = sample.clone()
        # The visualizer names the classes that are predicted: these are the likeliest.
        drawn.set_pred_label(sample.pred_score.topk(self.settings['top_k']).indices)
        return self.inferencer.visualizer.visualize_cls(
            np.ascontiguousarray(image[..., ::-1]),
            drawn,
            # Of ImageNet's synonyms the first.
            classes=[name.split(',')[0] for name in self.classes],
            draw_gt=False,
            resize=LEAST_SIDE if min(image.shape[:2]) < LEAST_SIDE else None,
            name='demo',
        )[..., ::-1]

    def describe(self, sample: 'DataSample') -> Dict[str, Any]:
        scores, labels = sample.pred_score.topk(self.settings['top_k'])
        likeliest = list(zip(labels.tolist(), scores.tolist(), strict=True))
        return describe_top(likeliest, self.classes, sample.ori_shape)


PREDICTOR = Classifier
