"""A class for each pixel."""

from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence

import numpy as np

from ..predictor import OPACITY, Predictor, describe_labels, make_palette, pack_labels

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmseg.structures import SegDataSample
    from torch import Tensor


def fit_config(cfg: 'Config', state: Mapping[str, 'Tensor']) -> None:
    """Nothing of a segmentor is known from its weights alone."""


def build(cfg: 'Config', device: str, **settings: Any) -> 'Segmentor':
    """Build mmseg's inferencer, without weights; ``settings`` are :class:`Predictor`'s."""
    from mmseg.apis import MMSegInferencer
    from mmseg.registry import DATASETS

    dataset = DATASETS.get(cfg.test_dataloader.dataset.type)
    inferencer = MMSegInferencer(cfg, device=device)
    inferencer.show_progress = False  # mmseg 1.2 does not take it as an argument
    return Segmentor(inferencer, getattr(dataset, 'METAINFO', {}), **settings)


class Segmentor(Predictor):
    """See :class:`Predictor`."""

    task = 'segmentation'

    def num_classes(self) -> Optional[int]:
        return self.model.decode_head.num_classes

    def use_names(self, palette: Optional[Sequence[tuple]]) -> None:
        colours = list(palette or make_palette(len(self.classes)))
        meta = {'classes': self.classes, 'palette': colours}
        self.model.dataset_meta = meta
        self.inferencer.visualizer.dataset_meta = meta
        self.inferencer.visualizer.alpha = OPACITY

    def predict(self, image: np.ndarray) -> 'SegDataSample':
        return self.inferencer(image, return_datasamples=True).cpu()

    def draw(self, image: np.ndarray, sample: 'SegDataSample') -> np.ndarray:
        visualizer = self.inferencer.visualizer
        picture = np.ascontiguousarray(image[..., ::-1])
        visualizer.add_datasample('demo', picture, sample, draw_gt=False)
        return visualizer.get_image()[..., ::-1]

    def describe(self, sample: 'SegDataSample') -> Dict[str, Any]:
        return describe_labels(self.label_map(sample), self.classes)

    def label_map(self, sample: 'SegDataSample') -> np.ndarray:
        return pack_labels(sample.pred_sem_seg.data[0].numpy(), self.classes)
