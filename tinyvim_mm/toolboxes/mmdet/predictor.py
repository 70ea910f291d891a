"""Objects, with boxes and masks."""

import warnings
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ..predictor import Predictor

if TYPE_CHECKING:
    from mmdet.structures import DetDataSample
    from mmengine.config import Config
    from torch import Tensor


def fit_config(cfg: 'Config', state: Mapping[str, 'Tensor']) -> None:
    """Nothing of a detector is known from its weights alone."""


def build(cfg: 'Config', device: str, **settings: Any) -> 'Detector':
    """Build mmdet's inferencer, without weights; ``settings`` are :class:`Predictor`'s."""
    from mmdet.apis import DetInferencer
    from mmdet.registry import DATASETS

    dataset = DATASETS.get(cfg.test_dataloader.dataset.type)
    inferencer = DetInferencer(cfg, device=device, show_progress=False)
    return Detector(inferencer, getattr(dataset, 'METAINFO', {}), **settings)


class Detector(Predictor):
    """See :class:`Predictor`."""

    task = 'detection'

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
        visualizer = self.inferencer.visualizer
        with warnings.catch_warnings():
            # Objects touch the border of a photograph as a matter of course.
            warnings.filterwarnings('ignore', message='.*out of bounds')
            visualizer.add_datasample(
                'demo',
                np.ascontiguousarray(image[..., ::-1]),
                sample,
                draw_gt=False,
                pred_score_thr=self.score_thr,
            )
        return visualizer.get_image()[..., ::-1]

    def describe(self, sample: 'DetDataSample') -> Dict[str, Any]:
        """Objects as COCO's results have them: ``bbox`` is x, y, width, height; masks are RLE."""
        found = sample.pred_instances
        found = found[found.scores > self.score_thr]
        objects: List[Dict[str, Any]] = []
        rows = zip(found.labels.tolist(), found.scores.tolist(), found.bboxes.tolist(), strict=True)
        for label, score, (x1, y1, x2, y2) in rows:
            box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
            objects.append(
                {'class': self.classes[label], 'label': label, 'score': score, 'bbox': box}
            )
        if 'masks' in found:
            for item, mask in zip(objects, np.asarray(found.masks), strict=True):
                item['segmentation'] = _encode(mask)
        height, width = sample.ori_shape
        return {'height': height, 'width': width, 'objects': objects}


def _encode(mask: np.ndarray) -> Dict[str, Any]:
    """COCO's run-length encoding of a mask ``(H, W)``."""
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {'size': list(map(int, encoded['size'])), 'counts': encoded['counts'].decode('ascii')}
