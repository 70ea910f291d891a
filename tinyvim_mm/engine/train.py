"""Training: what stands behind ``tools/train.py``."""

import argparse
from typing import TYPE_CHECKING, Optional, Sequence

from . import cli
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
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, or from the latest in the work dir',
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
        cfg.resume, cfg.load_from = True, None
    elif args.resume:
        cfg.resume = True
        cfg.load_from = cli.existing_checkpoint(args.resume, '--resume')
    check_data(cfg, ('train', 'test') if args.sample else ('train', 'val'), args.command)
    check_pretrained(cfg)
    check_teacher(cfg)

    from mmengine.runner import Runner

    from .hooks import EpochSeedHook, IterationSeedHook

    runner = Runner.from_cfg(cfg)
    cli.log_scan_backend(runner)
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
