"""What a sample run ends with: scores, pictures, and how to read them.

Only :mod:`tinyvim_mm.engine.train` and ``test`` load this module, after the
packages it needs were checked.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

import mmcv
import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from ..visualization.curves import Record, plot_training, read_training
from ..visualization.sheet import Row, save_sheet
from .paths import shown

if TYPE_CHECKING:
    from mmdet.structures import DetDataSample
    from mmengine.evaluator import BaseMetric
    from mmengine.runner import Runner
    from torch.utils.data import Dataset

# Predictions below it are not drawn; mmdet's visualization hook has the same.
SCORE_THRESHOLD = 0.3
SEEN_ROWS, UNSEEN_ROWS = 4, 2

# By split: the number of photographs, and what mmdet's CocoMetric returned.
Metrics = Dict[str, Dict[str, float]]


@dataclass(frozen=True)
class Photographs:
    """One set of sample photographs.

    Attributes:
        split: Its name in COCO.
        dataloader: Which dataloader of the config reads it.
        label: How the network stands to it.
    """

    split: str
    dataloader: str
    label: str


SEEN = Photographs('train2017', 'train_dataloader', 'photographs the network was trained on')
UNSEEN = Photographs('val2017', 'test_dataloader', 'photographs the network has not seen')


def report_training(runner: 'Runner') -> None:
    """Evaluate and draw after a sample training, and print how it went.

    Writes ``predictions.png``, ``loss_curves.png`` and ``metrics.json`` to the
    work dir.

    Args:
        runner: After ``train()``.
    """
    metrics, sheet = _evaluate_and_draw(runner)
    if not is_main_process():
        return
    records = read_training(runner.work_dir)
    start = starting_weights(runner.cfg)
    number = _training_photographs(runner)
    curves = plot_training(
        records,
        Path(runner.work_dir) / 'loss_curves.png',
        f'{_config_name(runner)}, {number} COCO photographs, '
        f'{runner.max_epochs} epochs, from {start}',
    )
    first, last = first_and_last_loss(records)
    _save(runner, metrics, steps=runner.iter, started_from=start, loss=[first, last])
    lines = [
        f'{_config_name(runner)}: {runner.iter} steps on {number} photographs, from {start}',
        f'loss: {first:.2f} in the first tenth of the steps, {last:.2f} in the last tenth',
        *score_lines(metrics),
        'These scores show that training, evaluation and drawing work, and no more: so few',
        'photographs say nothing about the quality of the network.',
        f'predictions beside ground truth: {shown(sheet)}',
        f'loss curves: {shown(curves)}',
    ]
    print_log('\n' + '\n'.join(lines), logger='current')


def report_test(runner: 'Runner', dumps: Sequence['BaseMetric'] = ()) -> None:
    """Evaluate a checkpoint on the sample photographs, draw, and print the scores.

    Writes ``predictions.png`` and ``metrics.json`` to the work dir.

    Args:
        runner: As built; its weights are loaded here.
        dumps: Metrics that save the predictions on the config's test data.
    """
    runner.call_hook('before_run')
    runner.load_or_resume()
    metrics, sheet = _evaluate_and_draw(runner, dumps)
    if is_main_process():
        _save(runner, metrics)
        lines = [
            f'{_config_name(runner)}, weights of {runner.cfg.load_from}',
            *score_lines(metrics),
            f'predictions beside ground truth: {shown(sheet)}',
        ]
        print_log('\n' + '\n'.join(lines), logger='current')


def score_lines(metrics: Metrics) -> List[str]:
    """The scores in words.

    Args:
        metrics: Of both splits.

    Returns:
        A line for each split, in percent as papers print them.
    """
    lines = []
    for photographs in (SEEN, UNSEEN):
        found = metrics[photographs.split]
        scores = [
            f'{name} {measure} {_percent(found.get(f"coco/{key}_{suffix}"))}'
            for name, key in (('box', 'bbox'), ('mask', 'segm'))
            for measure, suffix in (('AP', 'mAP'), ('AP50', 'mAP_50'))
        ]
        number = found['photographs']
        lines.append(f'{number} {photographs.label} ({photographs.split}): {", ".join(scores)}')
    if any('none' in line for line in lines):
        lines.append('(none: the network predicted no object at all)')
    return lines


def _percent(value: Optional[float]) -> str:
    # mmdet leaves the keys out when the network predicts no object at all.
    return 'none' if value is None else f'{100 * value:.1f}'


def starting_weights(cfg: dict) -> str:
    """``'pretrained weights'`` if the backbone loads some, else ``'random weights'``."""
    init_cfg = cfg['model']['backbone'].get('init_cfg') or {}
    return 'pretrained weights' if init_cfg.get('type') == 'Pretrained' else 'random weights'


def first_and_last_loss(records: Sequence[Record]) -> Tuple[float, float]:
    """Mean loss over the first and over the last tenth of the logged steps."""
    part = max(1, len(records) // 10)
    losses = [record['loss'] for record in records]
    return sum(losses[:part]) / part, sum(losses[-part:]) / part


def pick_photographs(dataset: 'Dataset', number: int) -> List[int]:
    """Indices of the photographs with the largest single objects.

    They are chosen by their ground truth, never by how well the network does.

    Args:
        dataset: A CocoDataset.
        number: How many.
    """

    def largest(index: int) -> float:
        info = dataset.get_data_info(index)
        areas = [
            (x2 - x1) * (y2 - y1)
            for x1, y1, x2, y2 in (i['bbox'] for i in info['instances'] if not i['ignore_flag'])
        ]
        return max(areas, default=0.0) / (info['width'] * info['height'])

    return sorted(range(len(dataset)), key=largest, reverse=True)[:number]


def _evaluate_and_draw(
    runner: 'Runner', dumps: Sequence['BaseMetric'] = ()
) -> Tuple[Metrics, Path]:
    metrics: Metrics = {}
    rows: List[Row] = []
    for photographs, number in ((SEEN, SEEN_ROWS), (UNSEEN, UNSEEN_ROWS)):
        print_log(f'Evaluating on {photographs.label}', logger='current')
        _read_photographs(runner, photographs)
        if photographs is UNSEEN:
            runner.test_loop.evaluator.metrics.extend(dumps)
        number_read = len(runner.test_loop.dataloader.dataset)
        metrics[photographs.split] = dict(photographs=number_read, **runner.test_loop.run())
        if is_main_process():
            rows += _draw_rows(runner, photographs, number)
    title = (
        f'{_config_name(runner)} on COCO photographs: ground truth (left) and predictions '
        f'with a score above {SCORE_THRESHOLD} (right)'
    )
    sheet = Path(runner.work_dir) / 'predictions.png'
    if is_main_process():
        save_sheet(rows, sheet, title, columns=2)
    return metrics, sheet


def _read_photographs(runner: 'Runner', photographs: Photographs) -> None:
    """Point the runner's test loop, and its evaluator, at one set of photographs."""
    dataloader = runner.cfg.test_dataloader.copy()
    evaluator = runner.cfg.test_evaluator.copy()
    if photographs is SEEN:
        seen = runner.cfg.train_dataloader.dataset.dataset
        dataloader.dataset = {
            **dataloader.dataset,
            'ann_file': seen.ann_file,
            'data_prefix': seen.data_prefix,
        }
        evaluator.ann_file = str(Path(seen.data_root) / seen.ann_file)
    loop = runner.test_loop
    loop.dataloader = runner.build_dataloader(dataloader, seed=runner.seed)
    loop.evaluator = runner.build_evaluator(evaluator)
    loop.evaluator.dataset_meta = loop.dataloader.dataset.metainfo
    runner.visualizer.dataset_meta = loop.dataloader.dataset.metainfo


def _training_photographs(runner: 'Runner') -> int:
    dataset = runner.train_dataloader.dataset
    return len(dataset) // getattr(dataset, 'times', 1)


def _draw_rows(runner: 'Runner', photographs: Photographs, number: int) -> List[Row]:
    loader = runner.test_loop.dataloader
    runner.model.eval()
    rows = []
    for index in pick_photographs(loader.dataset, number):
        with torch.no_grad():
            (sample,) = runner.model.test_step(loader.collate_fn([loader.dataset[index]]))
        image = mmcv.imread(sample.img_path, channel_order='rgb')
        drawn = int((sample.pred_instances.scores > SCORE_THRESHOLD).sum())
        truths = len(sample.gt_instances)
        rows.append(
            Row(
                truth=_draw(runner, image, sample, truth=True),
                prediction=_draw(runner, image, sample, truth=False),
                truth_caption=f'{truths} objects; one of the {photographs.label}',
                prediction_caption=f'{drawn} predicted' if drawn else 'nothing predicted',
            )
        )
    return rows


def _draw(runner: 'Runner', image, sample: 'DetDataSample', truth: bool):
    visualizer = runner.visualizer
    with warnings.catch_warnings():
        # Objects touch the border of a photograph as a matter of course.
        warnings.filterwarnings('ignore', message='.*out of bounds')
        visualizer.add_datasample(
            f'{Path(sample.img_path).stem}_{"truth" if truth else "prediction"}',
            image,
            sample,
            draw_gt=truth,
            draw_pred=not truth,
            pred_score_thr=SCORE_THRESHOLD,
        )
    return visualizer.get_image()


def _save(runner: 'Runner', metrics: Metrics, **facts: object) -> None:
    content = dict(config=_config_name(runner), **facts, metrics=metrics)
    file = Path(runner.work_dir) / 'metrics.json'
    file.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def _config_name(runner: 'Runner') -> str:
    return Path(runner.cfg.filename).stem
