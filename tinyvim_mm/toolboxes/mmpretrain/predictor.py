"""Classes of whole pictures."""

from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence

import numpy as np

from ..predictor import LEAST_SIDE, Predictor, describe_top

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmpretrain.structures import DataSample
    from torch import Tensor

# In the layouts of this project and of the release.
_LINEAR = ('head.head.weight', 'head.weight')
_SECOND_LINEAR = ('head.dist_head.weight', 'dist_head.weight')


def fit_config(cfg: 'Config', state: Mapping[str, 'Tensor']) -> None:
    """Give the head as many classes and linear layers as the checkpoint has."""
    linear = next((state[key] for key in _LINEAR if key in state), None)
    if linear is not None:
        cfg.model.head.num_classes = len(linear)
    # Trained without a teacher, as --sample does, it has a single layer.
    if cfg.model.get('distillation') and not any(key in state for key in _SECOND_LINEAR):
        cfg.model.distillation = None


def build(cfg: 'Config', device: str, **settings: Any) -> 'Classifier':
    """Build mmpretrain's inferencer, without weights; ``settings`` are :class:`Predictor`'s."""
    from mmpretrain import ImageClassificationInferencer
    from mmpretrain.registry import DATASETS

    dataset = DATASETS.get(cfg.test_dataloader.dataset.type)
    inferencer = ImageClassificationInferencer(cfg, pretrained=False, device=device)
    return Classifier(inferencer, getattr(dataset, 'METAINFO', {}), **settings)


class Classifier(Predictor):
    """See :class:`Predictor`."""

    task = 'classification'

    @property
    def settings(self) -> Dict[str, Any]:
        return {'top_k': min(self.top_k, len(self.classes))}

    def num_classes(self) -> Optional[int]:
        return self.inferencer.config.model.head.num_classes

    def use_names(self, palette: Optional[Sequence[tuple]]) -> None:
        from mmpretrain.visualization import UniversalVisualizer

        del palette
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
