"""Trainings of the recipes on the sample photographs, made so small that they take seconds."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from ..core.paths import PROJECT_ROOT

_EVERY_STEP = ('default_hooks.logger.interval=1', 'log_processor.window_size=1')


@dataclass(frozen=True)
class SmallRun:
    """One toolbox's recipe with fewer and smaller pictures.

    Attributes:
        config: Its name.
        options: For ``--cfg-options``, after ``--sample``.
        length: Option that sets how long it trains, to be formatted with ``n``.
        steps: Steps in one unit of ``n``.
    """

    config: str
    options: Tuple[str, ...]
    length: str
    steps: int

    def command(self, work_dir: Path, n: int, options: Sequence[str] = ()) -> List[str]:
        """The training's command line."""
        length = self.length.format(n=n)
        return [
            *(sys.executable, str(PROJECT_ROOT / 'tools' / 'train.py'), self.config, '--sample'),
            *('--work-dir', str(work_dir), '--cfg-options', *self.options, length, *options),
        ]


#: By toolbox. Of the classifier's recipe the moving average of the weights and the
#: adaptive clipping of the gradients remain.
SMALL_RUNS: Dict[str, SmallRun] = {
    'mmdet': SmallRun(
        'mask_rcnn_tinyvim_s_1x_coco',
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
            *_EVERY_STEP,
        ),
        'train_cfg.max_epochs={n}',
        2,
    ),
    'mmseg': SmallRun(
        'fpn_tinyvim_s_40k_ade20k',
        (
            'train_dataloader.dataset.pipeline.2.scale=(128,64)',
            'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
            'model.data_preprocessor.size=(64,64)',
            'train_dataloader.dataset.indices=4',
            'test_dataloader.dataset.pipeline.1.scale=(128,64)',
            'test_dataloader.dataset.indices=1',
            'default_hooks.checkpoint.interval=1000',
            *_EVERY_STEP,
        ),
        'train_cfg.max_iters={n}',
        1,
    ),
    'mmpretrain': SmallRun(
        'tinyvim_s_300e_in1k',
        (
            'train_dataloader.dataset.pipeline.1.scale=64',
            'train_dataloader.dataset.indices=4',
            'train_dataloader.batch_size=2',
            'test_dataloader.dataset.pipeline.1.scale=71',
            'test_dataloader.dataset.pipeline.2.crop_size=64',
            'test_dataloader.dataset.indices=1',
            'param_scheduler.1.end=30',
            'default_hooks.checkpoint.interval=1',
            *_EVERY_STEP,
        ),
        'train_cfg.max_epochs={n}',
        2,
    ),
}


def run(command: Sequence[str], log: Path, threads: int = 0) -> None:
    """Run a training to its end.

    Args:
        command: See :meth:`SmallRun.command`.
        log: File for what it prints.
        threads: Of torch's operators; 0 leaves the choice to torch.

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
    """Environment for a training, with the number of threads where one is given."""
    env = dict(os.environ)
    if threads:
        env.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    return env
