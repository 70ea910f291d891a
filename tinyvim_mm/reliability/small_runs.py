"""Trainings of the recipes on the sample photographs, made so small that they take seconds."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from ..core.paths import PROJECT_ROOT

_EVERY_STEP = ('default_hooks.logger.interval=1', 'log_processor.window_size=1')


class SmallRun(NamedTuple):
    """One toolbox's recipe with fewer and smaller pictures.

    ``options`` follow ``--sample``; ``length`` is the one that says how long it trains, in units
    of ``steps`` steps.
    """

    config: str
    length: str
    steps: int
    options: Tuple[str, ...]

    def settings(self, n: int) -> List[str]:
        """What ``--cfg-options`` gets for a training of ``n`` units."""
        return [*self.options, *_EVERY_STEP, f'{self.length}={n}']

    def command(self, work_dir: Path, n: int) -> List[str]:
        """The command line of a training of ``n`` units."""
        tool = str(PROJECT_ROOT / 'tools' / 'train.py')
        command = [sys.executable, tool, self.config, '--sample', '--work-dir', str(work_dir)]
        return [*command, '--cfg-options', *self.settings(n)]


#: By toolbox. Of the classifier's recipe the moving average of the weights and the
#: adaptive clipping of the gradients remain.
SMALL_RUNS: Dict[str, SmallRun] = {
    'mmdet': SmallRun(
        'mask_rcnn_tinyvim_s_1x_coco',
        'train_cfg.max_epochs',
        2,
        (
            'train_dataloader.dataset.dataset.pipeline.2.scale=(96,64)',
            'train_dataloader.dataset.dataset.indices=4',
            'train_dataloader.dataset.times=1',
            'model.train_cfg.rpn_proposal.nms_pre=50',
            'model.train_cfg.rpn_proposal.max_per_img=30',
            'model.train_cfg.rpn.sampler.num=32',
            'model.train_cfg.rcnn.sampler.num=8',
            'model.roi_head.bbox_head.fc_out_channels=64',
            'test_dataloader.dataset.pipeline.1.scale=(96,64)',
            'test_dataloader.dataset.indices=1',
            'default_hooks.checkpoint.interval=1000',
        ),
    ),
    'mmseg': SmallRun(
        'fpn_tinyvim_s_40k_ade20k',
        'train_cfg.max_iters',
        1,
        (
            'train_dataloader.dataset.pipeline.2.scale=(128,64)',
            'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
            'model.data_preprocessor.size=(64,64)',
            'train_dataloader.dataset.indices=4',
            'test_dataloader.dataset.pipeline.1.scale=(128,64)',
            'test_dataloader.dataset.indices=1',
            'default_hooks.checkpoint.interval=1000',
        ),
    ),
    'mmpretrain': SmallRun(
        'tinyvim_s_300e_in1k',
        'train_cfg.max_epochs',
        2,
        (
            'train_dataloader.dataset.pipeline.1.scale=64',
            'train_dataloader.dataset.indices=4',
            'train_dataloader.batch_size=2',
            'test_dataloader.dataset.pipeline.1.scale=71',
            'test_dataloader.dataset.pipeline.2.crop_size=64',
            'test_dataloader.dataset.indices=1',
            'param_scheduler.1.end=30',
            'default_hooks.checkpoint.interval=1',
        ),
    ),
}


def run(command: Sequence[str], log: Path, threads: int = 0) -> None:
    """Run a training to its end; see :func:`environment` for ``threads``.

    Raises:
        RuntimeError: It failed; the message ends with what it printed last.
    """
    with log.open('ab') as stream:
        code = subprocess.run(
            command, stdout=stream, stderr=subprocess.STDOUT, env=environment(threads), check=False
        ).returncode
    if code:
        last = '\n  '.join(log.read_text(errors='replace').splitlines()[-15:])
        raise RuntimeError(f'{" ".join(command[1:4])} ended with code {code}, see {log}:\n  {last}')


def environment(threads: int = 0) -> Dict[str, str]:
    """Environment for a training; 0 leaves the number of threads to torch."""
    names = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS') if threads else ()
    return {**os.environ, **dict.fromkeys(names, str(threads))}
