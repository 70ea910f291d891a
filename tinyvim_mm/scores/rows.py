"""The rows, as data: what is trained on what, and from which weights.

A row is one training with one seed. Its name is that of its work dir and of its record.
"""

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple


@dataclass(frozen=True)
class Table:
    """What the rows of a table have in common.

    Attributes:
        title: Stands above it.
        score: Key of the figure that is compared, as the toolbox's metric calls it.
        metric: What people call it.
        scale: The figure times this is in percent.
        split: On which it is measured: ``'val'`` after the last epoch, or ``'test'``, which is
            read once, when the training is over.
        input_size: Height and width that whole networks are exported for; ``None`` if none can be.
        own_data: Folder that ``tinyvim-mm finetune`` reads; empty for a config that says it.
    """

    title: str
    score: str
    metric: str
    scale: float
    split: str
    input_size: Optional[Tuple[int, int]] = None
    own_data: str = ''


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        table: Of :data:`TABLES`.
        title: The network, and what is special; rows of one title differ in the seed.
        config: Of ``configs/benchmarks``.
        seed: Of the order of the images, their changes, and the first weights.
        start: Row whose weights the backbone begins with; empty: random ones.
        note: What else a reader must know.
    """

    table: str
    title: str
    config: str
    seed: int = 0
    start: str = ''
    note: str = ''


_TOP1 = dict(score='accuracy/top1', metric='top-1 %', scale=1.0, split='val', input_size=(128, 128))

TABLES: Dict[str, Table] = {
    'imagenette-15e': Table('Imagenette at 128 pixels, 15 epochs', **_TOP1),
    'imagenette-60e': Table('Imagenette at 128 pixels, 60 epochs', **_TOP1),
    'camvid': Table(
        'CamVid, Semantic FPN, 1,500 iterations of 8 images',
        'mIoU',
        'test mIoU %',
        1.0,
        'test',
        # Photographs of 480x360, whose sides become multiples of 32.
        input_size=(384, 480),
    ),
    'bccd': Table(
        'BCCD, by `tinyvim-mm finetune`',
        'coco/bbox_mAP_50',
        'test AP50',
        100.0,
        'test',
        own_data='bccd',
    ),
}


def _imagenette() -> Dict[str, Row]:
    scans = {
        'tinyvim_s': 'TinyViM-S: scan of the low frequencies',
        'tinyvim_s_scan_all': 'TinyViM-S: scan of all frequencies',
        'tinyvim_s_scan_high': 'TinyViM-S: scan of the high frequencies',
        'tinyvim_s_scan_both': 'TinyViM-S: scans of the low and of the high',
        'tinyvim_s_scan_none': 'TinyViM-S: no scan',
        'tinyvim_s_distilled': 'TinyViM-S: with a teacher',
    }
    rivals = {
        'efficientvmamba_t': 'EfficientVMamba-T',
        'mobilemamba_t2': 'MobileMamba-T2',
        'swiftformer_s': 'SwiftFormer-S',
        'resnet18': 'ResNet-18',
    }
    rows = {}
    for name, title in {**scans, **rivals}.items():
        config = f'{name}_15e_imagenette'
        rows[f'{name}_15e'] = Row('imagenette-15e', title, config)
        rows[f'{name}_15e_seed1'] = Row('imagenette-15e', title, config, seed=1)
    for name in ('tinyvim_s', 'tinyvim_s_distilled'):
        config = f'{name}_60e_imagenette'
        title = 'TinyViM-S, with a teacher' if 'distilled' in name else 'TinyViM-S'
        rows[f'{name}_60e'] = Row('imagenette-60e', title, config)
    return rows


ROWS: Dict[str, Row] = {
    **_imagenette(),
    'camvid_tinyvim_s': Row('camvid', 'TinyViM-S, random weights', 'fpn_tinyvim_s_camvid'),
    'camvid_tinyvim_s_from_15e': Row(
        'camvid',
        'TinyViM-S, from 15 epochs of Imagenette',
        'fpn_tinyvim_s_camvid',
        start='tinyvim_s_15e',
    ),
    'camvid_tinyvim_s_from_60e': Row(
        'camvid',
        'TinyViM-S, from 60 epochs of Imagenette',
        'fpn_tinyvim_s_camvid',
        start='tinyvim_s_60e',
    ),
    'camvid_resnet18': Row('camvid', 'ResNet-18, random weights', 'fpn_resnet18_camvid'),
    'camvid_resnet18_from_15e': Row(
        'camvid',
        'ResNet-18, from 15 epochs of Imagenette',
        'fpn_resnet18_camvid',
        start='resnet18_15e',
    ),
    'bccd_retinanet': Row(
        'bccd', 'RetinaNet, TinyViM-S, random weights', 'retinanet_tinyvim_s_bccd'
    ),
    'bccd_retinanet_from_60e': Row(
        'bccd',
        'RetinaNet, TinyViM-S, from 60 epochs of Imagenette',
        'retinanet_tinyvim_s_bccd',
        start='tinyvim_s_60e',
    ),
    'bccd_mask_rcnn': Row(
        'bccd', 'Mask R-CNN without masks, TinyViM-S, random weights', 'mask_rcnn_tinyvim_s_1x_coco'
    ),
    'bccd_mask_rcnn_from_60e': Row(
        'bccd',
        'Mask R-CNN without masks, TinyViM-S, from 60 epochs of Imagenette',
        'mask_rcnn_tinyvim_s_1x_coco',
        start='tinyvim_s_60e',
    ),
}


def rows_of(table: str) -> List[str]:
    """Names of the rows of a table, in its order."""
    return [name for name, row in ROWS.items() if row.table == table]
