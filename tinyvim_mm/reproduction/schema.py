"""What the reproduced tables are made of: columns, rows, scores."""

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from ..recipes import metafiles
from ..toolboxes import mmdet, mmpretrain, mmseg


@dataclass(frozen=True)
class Metric:
    """A column.

    Attributes:
        title: With its unit, as the head of the column.
        figure: Name of what is published of it in the metafiles.
        relative: Whether only ratios between rows mean something across machines.
        digits: After the point.
        timed: Whether it has a column for each setting of the measurement of speed.
    """

    title: str
    figure: str = ''
    relative: bool = False
    digits: int = 1
    timed: bool = False


METRICS: Dict[str, Metric] = {
    'params': Metric('params, M', 'Parameters (M)', digits=2),
    'gmacs': Metric('GMACs, without the scan', 'GMACs without the scan', digits=2),
    'gmacs_all': Metric('GMACs with the scan', 'GMACs with the scan', digits=2),
    'latency': Metric('ms', timed=True),
    'throughput': Metric('images/s', 'Images/s', relative=True, timed=True),
    'top1_300': Metric('top-1 %, 300 epochs', 'Top 1 Accuracy'),
    'top1_1000': Metric('top-1 %, 1000 epochs', 'Top 1 Accuracy'),
    'box_ap': Metric('box AP', 'box AP'),
    'mask_ap': Metric('mask AP', 'mask AP'),
    'miou': Metric('mIoU %', 'mIoU'),
    'top1_gain': Metric('top-1 % gained by the extra branches', 'Top 1 Accuracy gained'),
    'error': Metric('relative error against the training form', digits=8),
}


@dataclass(frozen=True)
class Score:
    """An accuracy that a toolbox evaluates.

    Attributes:
        config: Name of the config to evaluate a checkpoint with.
        key: In what the toolbox returns.
        scale: From there to percent.
    """

    config: str
    key: str
    scale: float = 1.0


#: What the toolboxes evaluate, by its name in the metafiles.
_EVALUATED = {s.metric: s for box in (mmdet, mmseg, mmpretrain) for s in box.SCORES}


def scores(config: str, *metrics: str) -> Dict[str, Score]:
    """Where the measured values of accuracies come from: an evaluation with a config."""
    found = {metric: _EVALUATED[METRICS[metric].figure] for metric in metrics}
    return {metric: Score(config, s.key, s.scale) for metric, s in found.items()}


@dataclass(frozen=True)
class Row:
    """A network of a table.

    Attributes:
        name: As the table shows it.
        network: ``{'timm': NAME}``; or the config of a backbone for mmengine's registry, where
            ``head`` is the config of its classifier, if that is not the one that the backbone's
            class names; or, for dense tasks, ``{'config': NAME}`` with the whole network of a
            recipe, where ``options`` are changes of its model, ``{'backbone.arch': 's'}``.
        figures: Metric to published figure, for rows whose figures no metafile has.
        scores: Metric to where its measured value comes from.
        deployed: Whether it is reparameterized.
        size: Height and width of the images whose multiply-adds are counted; ``None`` for
            the table's.
        entries: Entry of a metafile to the metrics whose figures are taken from it.
    """

    name: str
    network: Dict[str, Any]
    figures: Dict[str, float] = field(default_factory=dict)
    scores: Dict[str, Score] = field(default_factory=dict)
    deployed: bool = True
    size: Optional[Tuple[int, int]] = None
    entries: Dict[str, Tuple[str, ...]] = field(default_factory=dict)

    @property
    def published(self) -> Dict[str, float]:
        """Metric to figure, without those of which nothing is published."""
        return {**self.figures, **self._taken(metafiles.PUBLISHED)}

    @property
    def released(self) -> Dict[str, float]:
        """Metric to the figure of the network's release, where it is another."""
        return self._taken(metafiles.RELEASED)

    def _taken(self, source: str) -> Dict[str, float]:
        found = {}
        for name, metrics in self.entries.items():
            figures = metafiles.figures(name, source)
            known = (m for m in metrics if METRICS[m].figure in figures)
            found.update({metric: figures[METRICS[metric].figure] for metric in known})
        return found


def evaluated(
    name: str,
    network: Dict[str, Any],
    config: str,
    *metrics: str,
    also: Tuple[str, ...] = (),
    **settings: Any,
) -> Row:
    """A row with accuracies of a config, and ``also`` other figures of its entry."""
    entries = {config: (*also, *metrics)}
    return Row(name, network, scores=scores(config, *metrics), entries=entries, **settings)


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
