"""What a sample run ends with: scores, pictures, and how to read them."""

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..core.paths import shown
from ..records.scalars import Record, read_training
from ..toolboxes import Photographs, Toolbox, toolbox_of
from ..visualization.curves import plot_training
from ..visualization.sheet import Row, save_sheet

#: How many photographs of each set the sheet shows.
SEEN_ROWS, UNSEEN_ROWS = 4, 2

#: By split: the number of photographs, and what the toolbox's metric returned.
Metrics = Dict[str, Dict[str, Any]]


def report_training(runner: Runner) -> None:
    """Evaluate and draw after a sample training, and print how it went.

    Writes ``predictions.png``, ``loss_curves.png`` and ``metrics.json`` to the work dir.
    """
    metrics, sheet = _evaluate_and_draw(runner)
    if not is_main_process():
        return
    start = starting_weights(runner.cfg)
    number = _training_photographs(runner)
    losses, curves = _losses(runner, f'{number} photographs, {_schedule(runner)}, from {start}')
    _save(runner, metrics, steps=runner.iter, started_from=start, loss=losses)
    lines = [
        f'{_config_name(runner)}: {runner.iter} steps on {number} photographs, from {start}',
        *score_lines(toolbox_of(runner.cfg), metrics),
        'These scores show that training, evaluation and drawing work, and no more: so few',
        'photographs say nothing about the quality of the network.',
        f'predictions beside ground truth: {shown(sheet)}',
    ]
    if losses:
        first, last = losses
        lines.insert(
            1, f'loss: {first:.2f} in the first tenth of the steps, {last:.2f} in the last tenth'
        )
        lines.append(f'loss curves: {shown(curves)}')
    print_log('\n' + '\n'.join(lines), logger='current')


def _losses(runner: Runner, title: str) -> Tuple[Optional[List[float]], Path]:
    """Losses of the first and the last tenth of the steps, if any was logged, and their picture."""
    picture = Path(runner.work_dir) / 'loss_curves.png'
    try:
        records = read_training(runner.work_dir)
    except FileNotFoundError:  # the training had fewer steps than the interval of the log
        return None, picture
    plot_training(records, picture, f'{_config_name(runner)}, {title}')
    return list(first_and_last_loss(records)), picture


def report_test(runner: Runner, dumps: Sequence[BaseMetric] = ()) -> None:
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
            *score_lines(toolbox_of(runner.cfg), metrics),
            f'predictions beside ground truth: {shown(sheet)}',
        ]
        print_log('\n' + '\n'.join(lines), logger='current')


def score_lines(toolbox: Toolbox, metrics: Metrics) -> List[str]:
    """The scores of both sets of photographs in words, a line each."""
    return [
        f'{metrics[p.split]["photographs"]} {p.label} ({p.split}): '
        f'{toolbox.score_line(metrics[p.split])}'
        for p in (toolbox.SEEN, toolbox.UNSEEN)
    ]


def starting_weights(cfg: dict) -> str:
    """``'pretrained weights'`` if the backbone loads some, else ``'random weights'``."""
    init_cfg = cfg['model']['backbone'].get('init_cfg') or {}
    return 'pretrained weights' if init_cfg.get('type') == 'Pretrained' else 'random weights'


def first_and_last_loss(records: Sequence[Record]) -> Tuple[float, float]:
    """Mean loss over the first and over the last tenth of the logged steps."""
    part = max(1, len(records) // 10)
    losses = [record['loss'] for record in records]
    return sum(losses[:part]) / part, sum(losses[-part:]) / part


def _evaluate_and_draw(runner: Runner, dumps: Sequence[BaseMetric] = ()) -> Tuple[Metrics, Path]:
    """Score both sets of photographs, and draw some of each on one sheet."""
    metrics: Metrics = {}
    rows: List[Row] = []
    toolbox = toolbox_of(runner.cfg)
    for photographs, number in ((toolbox.SEEN, SEEN_ROWS), (toolbox.UNSEEN, UNSEEN_ROWS)):
        print_log(f'Evaluating on {photographs.label}', logger='current')
        _read_photographs(runner, toolbox, photographs)
        if photographs is toolbox.UNSEEN:
            runner.test_loop.evaluator.metrics.extend(dumps)
        number_read = len(runner.test_loop.dataloader.dataset)
        metrics[photographs.split] = dict(photographs=number_read, **runner.test_loop.run())
        if is_main_process():
            rows += draw_rows(runner, toolbox, photographs, number)
    sheet = Path(runner.work_dir) / 'predictions.png'
    title = 'on the sample photographs: ground truth (left) and prediction (right)'
    if is_main_process():
        save_sheet(rows, sheet, f'{_config_name(runner)} {title}', columns=2)
    return metrics, sheet


def _read_photographs(runner: Runner, toolbox: Toolbox, photographs: Photographs) -> None:
    """Point the runner's test loop, and its evaluator, at one set of photographs."""
    dataloader = runner.cfg.test_dataloader.copy()
    evaluator = runner.cfg.test_evaluator.copy()
    if photographs is toolbox.SEEN:
        toolbox.read_training_photographs(runner.cfg, dataloader, evaluator)
    loop = runner.test_loop
    loop.dataloader = runner.build_dataloader(dataloader, seed=runner.seed)
    loop.evaluator = runner.build_evaluator(evaluator)
    loop.evaluator.dataset_meta = loop.dataloader.dataset.metainfo
    runner.visualizer.dataset_meta = loop.dataloader.dataset.metainfo


def _schedule(runner: Runner) -> str:
    by_iteration = 'max_iters' in runner.cfg.train_cfg
    return f'{runner.max_iters} iterations' if by_iteration else f'{runner.max_epochs} epochs'


def _training_photographs(runner: Runner) -> int:
    dataset = runner.train_dataloader.dataset
    return len(dataset) // getattr(dataset, 'times', 1)


def draw_rows(runner: Runner, toolbox: Toolbox, photographs: Photographs, number: int) -> List[Row]:
    """Predict on single photographs, and draw the predictions beside the ground truth."""
    loader = runner.test_loop.dataloader
    runner.model.eval()
    rows = []
    # An EMAHook puts the averaged weights in place, with which the scores were computed.
    runner.call_hook('before_test_epoch')
    for index in toolbox.pick_photographs(loader.dataset, number):
        with torch.no_grad():
            (sample,) = runner.model.test_step(loader.collate_fn([loader.dataset[index]]))
        rows.append(toolbox.draw_row(runner, sample, photographs.label))
    runner.call_hook('after_test_epoch', metrics={})
    return rows


def _save(runner: Runner, metrics: Metrics, **facts: object) -> None:
    content = dict(config=_config_name(runner), **facts, metrics=metrics)
    text = json.dumps(content, indent=2, default=float)  # mmseg's figures are numpy's
    (Path(runner.work_dir) / 'metrics.json').write_text(f'{text}\n', encoding='utf-8')


def _config_name(runner: Runner) -> str:
    return Path(runner.cfg.filename).stem
