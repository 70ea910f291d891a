"""What a training ends with: scores, confusion matrix, pictures."""

from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner

from ..core.paths import shown
from ..toolboxes import Photographs, toolbox_of
from ..training.fit import FitHook
from ..training.report import draw_rows
from ..training.runner import ToolRunner
from ..visualization.figure import new_figure, save_figure
from ..visualization.sheet import save_sheet

#: An object is found if a box with this score lies on it by this much.
LEAST_SCORE, LEAST_OVERLAP = 0.3, 0.5
_ROWS = 6
_MOST_NAMES = 30


class ConfusionMatrix(BaseMetric):
    """Counts what was taken for what: rows are the truth, columns the prediction.

    Pixels for segmentation, pictures for classification, objects for detection. There the last
    row and column are the background: boxes on no object, and objects that were not found.
    """

    default_prefix = 'confusion'

    def __init__(self, task: str, classes: int) -> None:
        super().__init__()
        self.counts = np.zeros((0, 0), np.int64)
        self.task = task
        self.size = classes + (task == 'detect')

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count a batch."""
        for sample in data_samples:
            pairs = getattr(self, f'_{self.task}')(sample)
            counts = np.zeros((self.size, self.size), np.int64)
            np.add.at(counts, pairs, 1)
            self.results.append(counts)

    def compute_metrics(self, results: List[np.ndarray]) -> Dict[str, Any]:
        """Keep the sum as :attr:`counts`; no figure, of which the log would be full."""
        self.counts = np.sum(results, axis=0)
        return {}

    def _classify(self, sample: dict) -> Tuple[np.ndarray, np.ndarray]:
        return sample['gt_label'].cpu().numpy(), sample['pred_label'].cpu().numpy()

    def _segment(self, sample: dict) -> Tuple[np.ndarray, np.ndarray]:
        truth = sample['gt_sem_seg']['data'].cpu().numpy().ravel()
        found = sample['pred_sem_seg']['data'].cpu().numpy().ravel()
        known = truth < self.size
        return truth[known], found[known]

    def _detect(self, sample: dict) -> Tuple[np.ndarray, np.ndarray]:
        import torch
        from mmdet.structures.bbox import bbox_overlaps

        truth, found = sample['gt_instances'], sample['pred_instances']
        kept = found['scores'].cpu() > LEAST_SCORE
        boxes, labels = found['bboxes'].cpu()[kept], found['labels'].cpu()[kept].tolist()
        own = truth['labels'].cpu().tolist()
        places = torch.as_tensor(getattr(truth['bboxes'], 'tensor', truth['bboxes'])).cpu().float()
        none, free, pairs = self.size - 1, set(range(len(own))), []
        overlaps = bbox_overlaps(boxes.float(), places) if len(own) else None
        for index in found['scores'].cpu()[kept].argsort(descending=True).tolist():
            near = [n for n in free if overlaps[index, n] >= LEAST_OVERLAP] if own else []
            # Of several objects one of its class.
            best = max(
                near,
                key=lambda n: (own[n] == labels[index], overlaps[index, n].item()),
                default=None,
            )
            free.discard(best)
            pairs.append((none if best is None else own[best], labels[index]))
        pairs += [(own[n], none) for n in free]
        array = np.array(pairs, np.int64).reshape(-1, 2)
        return array[:, 0], array[:, 1]


def evaluate_and_draw(
    cfg: Config, checkpoint: Path, out: Path, task: str, classes: Sequence[str], label: str
) -> Dict[str, Any]:
    """Score on the test data of a config, and write both pictures.

    Args:
        cfg: As trained.
        checkpoint: Weights.
        out: Folder for ``confusion_matrix.png`` and ``predictions.png``.
        task: One of :data:`~.dataset.TASKS`.
        classes: Their names.
        label: What the pictures are.

    Returns:
        The figures of the toolbox's metrics, and the ``confusion`` matrix.
    """
    cfg = cfg.copy()
    cfg.load_from, cfg.resume = str(checkpoint), False
    cfg.work_dir = str(Path(cfg.work_dir) / 'test')
    runner: Runner = ToolRunner.from_cfg(cfg)
    runner.register_hook(FitHook(partial=False))
    confusion = ConfusionMatrix(task, len(classes))
    runner.test_evaluator.metrics.append(confusion)
    runner.test_evaluator.dataset_meta = runner.test_loop.dataloader.dataset.metainfo
    scores = dict(runner.test())
    scores['confusion'] = confusion.counts.tolist()
    draw_confusion(
        confusion.counts,
        [*classes, *['nothing'] * (task == 'detect')],
        out / 'confusion_matrix.png',
        _title(task, label),
    )
    runner.visualizer.dataset_meta = _with_colors(runner.test_loop.dataloader.dataset.metainfo)
    rows = draw_rows(runner, toolbox_of(cfg), Photographs('test', label), _ROWS)
    title = f'{label}: ground truth (left) and prediction (right)'
    save_sheet(rows, out / 'predictions.png', title, columns=2)
    print(f'pictures: {shown(out / "predictions.png")}, {shown(out / "confusion_matrix.png")}')
    return scores


def draw_confusion(counts: np.ndarray, names: Sequence[str], file: Path, title: str) -> Path:
    """Draw a matrix of counts, in shares of its rows."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(5.0, min(20.0, 0.55 * len(names) + 2.5))
    figure = new_figure((side + 1, side), title)
    axes = figure.subplots()
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    axes.set_xlabel('prediction')
    axes.set_ylabel('ground truth')
    if len(names) <= _MOST_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=45, ha='right')
        axes.set_yticks(range(len(names)), names)
        for (row, column), count in np.ndenumerate(counts):
            color = 'white' if shares[row, column] > 0.5 else 'black'
            text = f'{shares[row, column]:.0%}' if count > 99_999 else f'{count}'
            axes.text(column, row, text, ha='center', va='center', color=color, fontsize=8)
    return save_figure(figure, file)


def _title(task: str, label: str) -> str:
    if task == 'detect':
        return f'objects of {label}\n(score above {LEAST_SCORE}, overlap at least {LEAST_OVERLAP})'
    return f'{"pixels" if task == "segment" else "pictures"} of {label}'


def _with_colors(meta: Dict[str, Any]) -> Dict[str, Any]:
    from ..toolboxes.predictor import make_palette

    return {**meta, 'palette': meta.get('palette') or make_palette(len(meta['classes']))}
