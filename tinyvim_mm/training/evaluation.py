"""Evaluation of a checkpoint with the metrics of its toolbox."""

from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union

from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch import Tensor

from ..core.errors import UsageError
from ..models.reparameterization import reparameterize
from ..recipes.building import building
from ..recipes.model_folder import weights_in
from ..recipes.starting_weights import existing_checkpoint
from ..toolboxes import toolbox_of
from ..weights.downloads import with_word
from .config import prepare_config
from .data.layout import check_data
from .fit import FitHook
from .hooks import log_scan_backend
from .report import report_test
from .runner import ToolRunner
from .work_dir import explaining, writing_into


@with_word
def evaluate(
    config: Union[str, Path],
    checkpoint: Union[str, Path, None] = None,
    work_dir: Union[str, Path, None] = None,
    *,
    sample: bool = False,
    options: Optional[Mapping[str, Any]] = None,
    allow_new_keys: bool = False,
    data_root: Optional[str] = None,
    deploy: bool = False,
    on_bad_sample: str = 'stop',
    out: Optional[str] = None,
    show: bool = False,
    show_dir: Optional[str] = None,
    wait_time: float = 2.0,
    trust_checkpoint: bool = False,
    allow_download: bool = False,
    launcher: str = 'none',
    command: Optional[str] = None,
) -> Optional[Dict[str, Any]]:
    """Evaluate on the config's test data; with ``sample`` also draw.

    Arguments that are not described here are those of :func:`~tinyvim_mm.training.train`.

    Args:
        config: Path of a config, or name of one of the project's; or what has the weights, too: a
            folder with a trained model, or the name of one of this package.
        checkpoint: File with the weights of the whole model.
        work_dir: Folder for the log.
        sample: Evaluate on the photographs shipped with the project.
        deploy: Reparameterize the model once its weights are loaded.
        on_bad_sample: ``'stop'``; ``'skip'`` is refused, because scores over fewer
            pictures compare with no others.
        out: File that ends in ``.pkl``, for the predictions.
        show: Show predictions in a window.
        show_dir: Folder for pictures of the predictions.
        wait_time: Seconds for each window.

    Returns:
        What the toolbox's metrics return, ``None`` with ``sample``.

    Raises:
        UsageError, CheckpointError, MissingPackageError: As from ``train``.

    Example:
        >>> from tinyvim_mm.training import evaluate
        >>> evaluate('tinyvim_s_300e_in1k', 'tinyvim_s.pth')  # doctest: +SKIP
        {'accuracy/top1': ...}
    """
    if on_bad_sample == 'skip':
        raise UsageError(
            '--on-bad-sample skip is for training: scores over fewer pictures than the dataset '
            'has compare with no others. To leave pictures out, take them out of the annotation '
            'file or folder'
        )
    _check_dump(out)
    checkpoint = checkpoint or weights_in(config)
    if not checkpoint:
        raise UsageError(f'name the checkpoint to evaluate: {config} has no weights beside it')
    cfg = prepare_config(
        config, work_dir, sample, options, data_root, launcher, trust_checkpoint, allow_new_keys
    )
    cfg.load_from = existing_checkpoint(str(checkpoint), 'checkpoint')

    def fill(runner: Runner) -> None:
        runner.register_hook(FitHook(partial=False))
        log_scan_backend(runner)
        if deploy:
            runner.register_hook(_DeployHook())

    drawing = (show, show_dir, wait_time)
    return _test(cfg, str(config), fill, out, drawing, command, sample=sample)


def evaluate_network(
    config: Union[str, Path],
    network: Callable[[Tensor], Tensor],
    work_dir: Union[str, Path, None] = None,
    *,
    options: Optional[Mapping[str, Any]] = None,
    allow_new_keys: bool = False,
    data_root: Optional[str] = None,
    out: Optional[str] = None,
    show: bool = False,
    show_dir: Optional[str] = None,
    wait_time: float = 2.0,
    command: Optional[str] = None,
) -> Dict[str, Any]:
    """Evaluate what is no model of a config, on its test data and by its metrics.

    Arguments that are not described here are those of :func:`evaluate`.

    Args:
        config: Of a classifier or a segmentor.
        network: From normalized images ``(N, 3, H, W)`` to logits: ``(N, classes)`` of a
            classifier, ``(N, classes, H, W)`` of a segmentor.

    Returns:
        What the toolbox's metrics return.

    Raises:
        UsageError: As from :func:`evaluate`, or it is the config of a detector.
    """
    _check_dump(out)
    cfg = prepare_config(config, work_dir, False, options, data_root, 'none', False, allow_new_keys)
    cfg.load_from = None

    def replace(runner: Runner) -> None:
        toolbox_of(cfg).run_network(runner.model, network)

    return _test(cfg, str(config), replace, out, (show, show_dir, wait_time), command) or {}


def _check_dump(out: Optional[str]) -> None:
    if out and Path(out).suffix not in ('.pkl', '.pickle'):
        raise UsageError(f'--out writes a pickle: {out} must end in .pkl or .pickle')


def _test(
    cfg: Config,
    config: str,
    prepare: Callable[[Runner], None],
    out: Optional[str],
    drawing: Tuple[bool, Optional[str], float],
    command: Optional[str],
    sample: bool = False,
) -> Optional[Dict[str, Any]]:
    """Run the test of a config on a runner that ``prepare`` has made ready."""
    # Without the lock: one evaluates a checkpoint while the training goes on.
    with writing_into(cfg.work_dir):
        with building(cfg, config), explaining(cfg.work_dir):
            if any(drawing[:2]):
                _draw_predictions(cfg, config, *drawing)
            check_data(cfg, ('train', 'test') if sample else ('test',), command)
            runner = ToolRunner.from_cfg(cfg)
        prepare(runner)
        dumps = [toolbox_of(cfg).dump_metric(out)] if out else []
        with building(cfg, config, running=True):
            if sample:
                report_test(runner, dumps)
                return None
            runner.test_evaluator.metrics.extend(dumps)
            return runner.test()


class _DeployHook(Hook):
    """Reparameterizes the model after the runner has loaded its weights."""

    def before_test(self, runner: Runner) -> None:
        before = sum(p.numel() for p in runner.model.parameters())
        reparameterize(runner.model, inplace=True)
        after = sum(p.numel() for p in runner.model.parameters())
        if after < before:
            runner.logger.info(
                f'reparameterized: {after:,} parameters of {before:,} in the training form'
            )
        for hook in runner.hooks:
            # It exchanges the model's parameters with those of its average one by one.
            if isinstance(hook, EMAHook):
                reparameterize(hook.ema_model.module, inplace=True)


def _draw_predictions(
    cfg: Config, config: str, show: bool, show_dir: Optional[str], wait_time: float
) -> None:
    """Switch on the visualization hook, which each toolbox configures in its own way."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise UsageError(
            f'--show and --show-dir need default_hooks.visualization, which {config} has not'
        )
    folder = str(Path(show_dir).resolve()) if show_dir else None
    toolbox_of(cfg).show_predictions(cfg, hook, folder)
    if show:
        hook.update(show=True, wait_time=wait_time)
