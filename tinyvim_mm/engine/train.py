"""Training: what stands behind ``tools/train.py``."""

import argparse
from typing import TYPE_CHECKING, Optional, Sequence

from . import cli, strategies
from .data_check import check_data
from .errors import UsageError
from .weights import check_pretrained, check_teacher

if TYPE_CHECKING:
    from mmengine.config import Config


def build_parser() -> argparse.ArgumentParser:
    """Options of ``tools/train.py``, those of mmdet's tool and ``--sample``."""
    parser = cli.make_parser('tools/train.py', 'Train the model of a config.')
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision, on machines with an accelerator'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size, from the one of the recipe',
    )
    parser.add_argument(
        '--strategy',
        choices=strategies.NAMES,
        default='ddp',
        help='how several processes share a training: a copy of the model in each (ddp, the '
        'default), or with gradients and optimizer state sharded (fsdp, deepspeed)',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, or from the latest in the work dir that is whole',
    )
    parser.add_argument(
        '--on-bad-sample',
        choices=['stop', 'skip'],
        default='stop',
        help='when a picture or its annotation cannot be used: name it and stop, or train on the '
        'next one in its place and list it at the end and in WORK_DIR/skipped_samples.txt',
    )
    parser.add_argument(
        '--detect-anomaly',
        action='store_true',
        help='stop at the first NaN or infinity, and name the layer and the iteration (slower)',
    )
    return parser


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/train.py``.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Raises:
        SystemExit: With code 2 after an error in command, config or files.
    """
    cli.run_tool(build_parser(), train, argv)


def train(args: argparse.Namespace) -> None:
    """Train, and after a sample run evaluate and draw.

    Args:
        args: Parsed by :func:`build_parser`.

    Raises:
        UsageError: Something that the user can cure; the message says how.
    """
    cfg = cli.prepare_config(args)
    if args.amp:
        cli.check_amp()
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        _scale_lr(cfg, args.config)
    if args.resume == 'auto':
        from .checkpoints import latest_checkpoint

        # Where nothing was saved yet, mmengine begins from the start, and says so.
        cfg.resume = True
        cfg.load_from = latest_checkpoint(cfg.work_dir, args.trust_checkpoint)
    elif args.resume:
        cfg.resume = True
        cfg.load_from = cli.existing_checkpoint(args.resume, '--resume')
    if args.sample and args.strategy != 'ddp':
        raise UsageError(
            f'--strategy {args.strategy} does not go with --sample, which draws the predictions '
            'in one process'
        )
    if args.on_bad_sample == 'skip' and args.strategy != 'ddp':
        raise UsageError(f'--on-bad-sample skip does not go with --strategy {args.strategy}')
    strategies.apply_strategy(cfg, args.strategy)
    check_data(cfg, ('train', 'test') if args.sample else ('train', 'val'), args.command)
    check_pretrained(cfg)
    check_teacher(cfg)

    from .fit import FitHook
    from .hooks import EpochSeedHook, IterationSeedHook, LogHook
    from .runner import ToolRunner

    if 'strategy' in cfg:
        from mmengine.runner._flexible_runner import FlexibleRunner

        runner = FlexibleRunner.from_cfg(cfg)
    else:
        runner = ToolRunner.from_cfg(cfg)
        if args.on_bad_sample == 'skip':
            runner.skip_bad_samples(resumed=bool(args.resume))
    runner.register_hook(LogHook())
    if args.strategy != 'deepspeed':  # which reads folders of its own
        runner.register_hook(FitHook(partial=True))
    if runner.cfg.get('randomness', {}).get('seed') is not None:
        by_iteration = 'max_iters' in cfg.train_cfg
        runner.register_hook((IterationSeedHook if by_iteration else EpochSeedHook)(runner.seed))
    if args.detect_anomaly:
        from .anomaly import AnomalyHook

        runner.register_hook(AnomalyHook())
    runner.train()
    if args.sample:
        from .report import report_training

        report_training(runner)


def _scale_lr(cfg: 'Config', name: str) -> None:
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise UsageError(
            f'--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in {name}: the batch '
            'size, over all devices, that its learning rate was chosen for'
        )
    cfg.auto_scale_lr.enable = True
