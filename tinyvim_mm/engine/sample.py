"""``--sample``: the same config on the photographs shipped with the project.

The run keeps the config's network, losses, optimizer, epochs and learning rate
steps. What must differ, because 24 photographs and a laptop replace 118,287
photographs and eight GPUs, stands here, each change with its reason; the run
prints them all when it starts.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Tuple

from .data_check import absent_pretrained
from .errors import UsageError
from .paths import SAMPLE_COCO, shown

if TYPE_CHECKING:
    from mmengine.config import Config

# Measured on 2 CPU cores. The scale is the recipe's 1333x800, about a quarter
# of each side.
IMAGE_SCALE = (320, 192)
PASSES_PER_EPOCH = 3
WARM_UP_STEPS = 20


@dataclass(frozen=True)
class Change:
    """One setting that ``--sample`` changes.

    Attributes:
        key: Dotted key of the config.
        value: The new value; a dict is merged as configs are.
        reason: Why the sample run needs it.
    """

    key: str
    value: Any
    reason: str


MMDET_CHANGES: Tuple[Change, ...] = (
    Change('train_dataloader.batch_size', 2, 'more steps rather than larger ones'),
    Change('train_dataloader.num_workers', 0, 'two cores have nothing to spare for workers'),
    Change('train_dataloader.persistent_workers', False, 'there are no workers'),
    Change('test_dataloader.num_workers', 0, 'two cores have nothing to spare for workers'),
    Change('test_dataloader.persistent_workers', False, 'there are no workers'),
    Change('val_cfg', None, 'both sets of photographs are evaluated after the training'),
    Change('val_dataloader', None, 'as above'),
    Change('val_evaluator', None, 'as above'),
    Change('model.train_cfg.rcnn.sampler.num', 64, 'the heads take most of the time of a step'),
    Change('model.train_cfg.rpn_proposal.nms_pre', 500, 'small images have fewer anchors'),
    Change('model.train_cfg.rpn_proposal.max_per_img', 500, 'as above'),
    Change('model.test_cfg.rpn.max_per_img', 300, 'as above'),
    Change('randomness', dict(seed=0), 'two runs on one machine shall show the same'),
    Change('default_hooks.logger.interval', 6, 'a run of some hundred steps shall show progress'),
    Change('log_processor.window_size', 6, 'each point of the curves averages its own steps'),
    Change('default_hooks.checkpoint.interval', 4, 'a checkpoint holds hundreds of megabytes'),
    Change('default_hooks.checkpoint.max_keep_ckpts', 1, 'as above'),
)


def apply_sample(cfg: 'Config', config_path: Path) -> None:
    """Change a config, in place, so that it runs on the shipped photographs.

    Prints what it changes.

    Args:
        cfg: A config as it was loaded, before ``--cfg-options``.
        config_path: Where it came from; for messages.

    Raises:
        UsageError: There are no photographs for this toolbox or data set, or
            they are not where a clone has them.
    """
    scope = cfg.default_scope
    if scope not in ADAPTORS:
        raise UsageError(
            f'--sample has photographs for {", ".join(ADAPTORS)} only, and '
            f'{shown(config_path)} belongs to {scope}: run it on its own data, without --sample'
        )
    print(f'--sample changes these settings of {shown(config_path)}:')
    for change in ADAPTORS[scope](cfg, config_path):
        cfg.merge_from_dict({change.key: change.value})
        value = textwrap.shorten(str(change.value), 80, placeholder=' ...')
        print(f'  {change.key} = {value}\n      {change.reason}', flush=True)


def _adapt_mmdet(cfg: 'Config', config_path: Path) -> Iterator[Change]:
    """Changes to a COCO config of mmdet; later ones see the earlier ones applied."""
    _check_mmdet(cfg, config_path)
    where = 'the shipped photographs, laid out as COCO'
    for split in ('train', 'test'):
        key = f'{split}_dataloader.dataset'
        yield Change(f'{key}.data_root', f'{SAMPLE_COCO}/', where)
        for index, transform in enumerate(cfg[f'{split}_dataloader'].dataset.pipeline):
            if transform.type == 'Resize':
                scale = f'{key}.pipeline.{index}.scale'
                yield Change(scale, IMAGE_SCALE, 'what a CPU can process')
            elif transform.type == 'RandomFlip':
                prob = f'{key}.pipeline.{index}.prob'
                yield Change(prob, 0.0, 'too few steps to see each photograph both ways')
    annotations = SAMPLE_COCO / cfg.test_dataloader.dataset.ann_file
    yield Change('test_evaluator.ann_file', str(annotations), where)
    yield Change(
        'train_dataloader.dataset',
        dict(
            _delete_=True,
            type='RepeatDataset',
            times=PASSES_PER_EPOCH,
            dataset=cfg.train_dataloader.dataset,
        ),
        'several passes over the photographs make an epoch: the schedule in epochs stays',
    )
    for index, scheduler in enumerate(cfg.param_scheduler):
        if scheduler.type == 'LinearLR' and not scheduler.get('by_epoch', True):
            yield Change(
                f'param_scheduler.{index}.end', WARM_UP_STEPS, 'warm-up of a shorter training'
            )
    yield from MMDET_CHANGES
    for key, checkpoint in list(absent_pretrained(cfg)):
        yield Change(key, None, f'there is no {checkpoint}: training starts from RANDOM weights')


def _check_mmdet(cfg: 'Config', config_path: Path) -> None:
    for split in ('train', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        if dataset.get('type') != 'CocoDataset':
            raise UsageError(
                f'--sample replaces a plain CocoDataset, and {split}_dataloader of '
                f'{shown(config_path)} reads a {dataset.get("type")}'
            )
    if not SAMPLE_COCO.is_dir():
        raise UsageError(
            f'the photographs of --sample are not at {SAMPLE_COCO}: they are part of the '
            'repository, not of an installed package; run in a clone'
        )


# One per toolbox: given the config and its path, the changes to it.
ADAPTORS: Dict[str, Callable[['Config', Path], Iterator[Change]]] = {'mmdet': _adapt_mmdet}
