"""What the reproduced tables are made of: columns, rows, scores."""

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple


@dataclass(frozen=True)
class Metric:
    """A column.

    Attributes:
        title: With its unit, as the head of the column.
        relative: Whether only ratios between rows mean something across machines.
        digits: After the point.
        timed: Whether it has a column for each setting of the measurement of speed.
    """

    title: str
    relative: bool = False
    digits: int = 1
    timed: bool = False


METRICS: Dict[str, Metric] = {
    'params': Metric('params, M', digits=2),
    'gmacs': Metric('GMACs, without the scan', digits=2),
    'gmacs_all': Metric('GMACs with the scan', digits=2),
    'latency': Metric('ms', timed=True),
    'throughput': Metric('images/s', relative=True, timed=True),
    'top1_300': Metric('top-1 %, 300 epochs'),
    'top1_1000': Metric('top-1 %, 1000 epochs'),
    'box_ap': Metric('box AP'),
    'mask_ap': Metric('mask AP'),
    'miou': Metric('mIoU %'),
    'top1_gain': Metric('top-1 % gained by the extra branches'),
    'error': Metric('relative error against the training form', digits=8),
}


@dataclass(frozen=True)
class Score:
    """An accuracy that a toolbox evaluates.

    Attributes:
        config: Name of the config to evaluate a checkpoint with.
        key: In what the toolbox returns.
        scale: From there to per cent.
    """

    config: str
    key: str
    scale: float = 1.0


@dataclass(frozen=True)
class Row:
    """A network of a table.

    Attributes:
        name: As the table shows it.
        network: ``{'timm': NAME}``; or the config of a backbone for mmengine's
            registry, where ``head`` is the config of its classifier, if that is
            not the one that the backbone's class names; or, for dense tasks,
            ``{'config': NAME}`` with the whole network of a recipe, where
            ``options`` are changes of its model, ``{'backbone.arch': 's'}``.
        published: Metric to figure.
        scores: Metric to where its measured value comes from.
        deployed: Whether it is re-parameterised.
        size: Height and width of the images whose multiply-adds are counted, if
            they are not the table's.
    """

    name: str
    network: Dict[str, Any]
    published: Dict[str, float] = field(default_factory=dict)
    scores: Dict[str, Score] = field(default_factory=dict)
    deployed: bool = True
    size: Optional[Tuple[int, int]] = None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: What it shows.
        task: ``'classification'``, ``'detection'``, ``'segmentation'`` or
            ``'backbone'``, whose networks are backbones with all their outputs.
        size: Height and width of the images whose throughput is measured and whose
            multiply-adds are counted.
        reference: Row to which relative columns refer.
        metrics: Columns, of :data:`METRICS`.
        rows: Rows.
        remark: Stands below the table.
        base: Config whose neck and head surround the backbone, for dense tasks.
        batches: Batch sizes on a CPU, instead of those of the task.
    """

    title: str
    task: str
    size: Tuple[int, int]
    reference: str
    metrics: Tuple[str, ...]
    rows: Tuple[Row, ...]
    remark: str = ''
    base: Optional[str] = None
    batches: Optional[Tuple[int, ...]] = None
