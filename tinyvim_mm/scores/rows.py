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


# Of the seed whose weights this package ships, see `recipes/trained`.
_TINYVIM, _RESNET = 'tinyvim_s_15e_seed1', 'resnet18_15e_seed1'
_FROM = 'from 15 epochs of Imagenette'


def _pair(name: str, table: str, title: str, config: str, start: str) -> Dict[str, Row]:
    """The same network from random weights and from those of another row."""
    return {
        name: Row(table, f'{title}, random weights', config),
        f'{name}_from_15e': Row(table, f'{title}, {_FROM}', config, start=start),
    }


ROWS: Dict[str, Row] = {
    **_imagenette(),
    **_pair('camvid_tinyvim_s', 'camvid', 'TinyViM-S', 'fpn_tinyvim_s_camvid', _TINYVIM),
    **_pair('camvid_resnet18', 'camvid', 'ResNet-18', 'fpn_resnet18_camvid', _RESNET),
    **_pair('bccd_retinanet', 'bccd', 'RetinaNet, TinyViM-S', 'retinanet_tinyvim_s_bccd', _TINYVIM),
    **_pair(
        'bccd_mask_rcnn',
        'bccd',
        'Mask R-CNN without masks, TinyViM-S',
        'mask_rcnn_tinyvim_s_1x_coco',
        _TINYVIM,
    ),
}


def rows_of(table: str) -> List[str]:
    """Names of the rows of a table, in its order."""
    return [name for name, row in ROWS.items() if row.table == table]
