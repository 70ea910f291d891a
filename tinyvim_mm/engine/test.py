"""Evaluation: what stands behind ``tools/test.py``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence

from . import cli
from .data_check import check_data
from .errors import UsageError
from .toolboxes import toolbox_of

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.hooks import Hook


def build_parser() -> argparse.ArgumentParser:
    """Options of ``tools/test.py``, those of mmdet's tool, ``--sample`` and ``--deploy``."""
    parser = cli.make_parser('tools/test.py', 'Evaluate a checkpoint of the model of a config.')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--deploy',
        action='store_true',
        help='re-parameterise the model once its weights are loaded, and evaluate that: the '
        'scores should be the same',
    )
    parser.add_argument(
        '--on-bad-sample',
        choices=['stop', 'skip'],
        default='stop',
        help='a picture that cannot be used is named and stops the evaluation; skip is refused',
    )
    parser.add_argument('--out', metavar='FILE.pkl', help='save the predictions as a pickle')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='save pictures of the predictions to this folder')
    parser.add_argument('--wait-time', type=float, default=2.0, help='seconds per window of --show')
    return parser


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/test.py``.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Raises:
        SystemExit: With code 2 after an error in command, config or files.
    """
    cli.run_tool(build_parser(), test, argv)


def test(args: argparse.Namespace) -> Optional[Dict[str, Any]]:
    """Evaluate on the config's test data; with ``--sample`` also draw.

    Args:
        args: Parsed by :func:`build_parser`.

    Returns:
        What the toolbox's metrics return, ``None`` with ``--sample``.

    Raises:
        UsageError: Something that the user can cure; the message says how.
    """
    if args.out and Path(args.out).suffix not in ('.pkl', '.pickle'):
        raise UsageError(f'--out writes a pickle: {args.out} must end in .pkl or .pickle')
    if args.on_bad_sample == 'skip':
        raise UsageError(
            '--on-bad-sample skip is for training: scores over fewer pictures than the data set '
            'has compare with no others. To leave pictures out, take them out of the annotation '
            'file or folder'
        )
    cfg = cli.prepare_config(args)
    cfg.load_from = cli.existing_checkpoint(args.checkpoint, 'checkpoint')
    if args.show or args.show_dir:
        _draw_predictions(cfg, args)
    check_data(cfg, ('train', 'test') if args.sample else ('test',), args.command)

    from .fit import FitHook
    from .runner import ToolRunner

    runner = ToolRunner.from_cfg(cfg)
    runner.register_hook(FitHook(partial=False))
    cli.log_scan_backend(runner)
    if args.deploy:
        runner.register_hook(_deploy_hook())
    dumps = [toolbox_of(cfg).dump_metric(args.out)] if args.out else []
    if args.sample:
        from .report import report_test

        report_test(runner, dumps)
        return None
    runner.test_evaluator.metrics.extend(dumps)
    return runner.test()


# pytest collects functions called test*.
test.__test__ = False


def _deploy_hook() -> 'Hook':
    """Make a hook that re-parameterises the model after the runner has loaded its weights."""
    from mmengine.hooks import EMAHook, Hook

    from ..models import reparameterize

    class DeployHook(Hook):
        def before_test(self, runner) -> None:
            before = sum(p.numel() for p in runner.model.parameters())
            reparameterize(runner.model, inplace=True)
            after = sum(p.numel() for p in runner.model.parameters())
            if after < before:
                runner.logger.info(
                    f're-parameterised: {after:,} parameters of {before:,} in the training form'
                )
            for hook in runner.hooks:
                # It exchanges the model's parameters with those of its average one by one.
                if isinstance(hook, EMAHook):
                    reparameterize(hook.ema_model.module, inplace=True)

    return DeployHook()


def _draw_predictions(cfg: 'Config', args: argparse.Namespace) -> None:
    """Switch on the visualization hook, which each toolbox configures in its own way."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise UsageError(
            f'--show and --show-dir need default_hooks.visualization, which {args.config} has not'
        )
    folder = str(Path(args.show_dir).resolve()) if args.show_dir else None
    toolbox_of(cfg).show_predictions(cfg, hook, folder)
    if args.show:
        hook.update(show=True, wait_time=args.wait_time)
