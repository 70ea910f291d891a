"""COCO: where its files lie, and the scores of detectors on it."""

from typing import TYPE_CHECKING, Any, Dict

from ..common import FullData, Score, percent

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric

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


def dump_metric(path: str) -> 'BaseMetric':
    """The one of mmdet, which encodes masks; plain ones would fill the disk."""
    from mmdet.evaluation import DumpDetResults

    return DumpDetResults(out_file_path=path)
