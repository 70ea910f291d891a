"""Training of a config, from the checks before it to the pictures after a sample run."""

from pathlib import Path
from typing import Any, Mapping, Optional, Union

from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner

from ..core.errors import UsageError
from ..recipes.building import building
from ..recipes.starting_weights import check_pretrained, check_teacher, existing_checkpoint
from ..weights.downloads import with_word
from .anomaly import AnomalyHook
from .checkpoints import latest_checkpoint
from .config import prepare_config
from .data.layout import check_data
from .distributed import is_first_process, naming_lost_processes
from .fit import FitHook
from .hooks import EpochSeedHook, IterationSeedHook, LogHook
from .interruption import InterruptionHook
from .memory_format import PlainCheckpointHook
from .not_finite import NotFiniteHook, refuse_not_finite_end
from .precision import apply_amp, choose_layout
from .record import RunRecordHook
from .report import report_training
from .runner import ToolRunner
from .strategies import apply_strategy
from .work_dir import WorkDirHook, explaining, writing_into


@with_word
def train(
    config: Union[str, Path],
    work_dir: Union[str, Path, None] = None,
    *,
    sample: bool = False,
    options: Optional[Mapping[str, Any]] = None,
    allow_new_keys: bool = False,
    data_root: Optional[str] = None,
    amp: bool = False,
    channels_last: Optional[bool] = None,
    auto_scale_lr: bool = False,
    strategy: str = 'ddp',
    resume: Union[str, Path, None] = None,
    on_bad_sample: str = 'stop',
    detect_anomaly: bool = False,
    trust_checkpoint: bool = False,
    allow_download: bool = False,
    launcher: str = 'none',
    command: Optional[str] = None,
) -> Path:
    """Train the model of a config; after a sample run, evaluate and draw.

    Args:
        config: Path of a config, or name of one of the project's.
        work_dir: Folder for logs, checkpoints and pictures; ``None`` takes the
            config's, or else ``work_dirs/CONFIG``.
        sample: Train on the photographs shipped with the project, with a schedule
            that a laptop can finish.
        options: Settings of the config to change: dotted keys to values.
        allow_new_keys: Let ``options`` set keys that nothing here reads.
        data_root: Folder that stands for ``data/`` in the config's paths.
        amp: Mixed precision; on a CPU in bfloat16.
        channels_last: Lay model and images out channels-last. ``None`` takes what the config
            says, or the training that is resumed, or else what the device prefers: a CPU does,
            of an accelerator nothing is assumed.
        auto_scale_lr: Scale the learning rate with the batch size.
        strategy: ``'ddp'``, ``'fsdp'`` or ``'deepspeed'``.
        resume: A checkpoint to go on from; ``'auto'`` finds the latest in the work
            dir that is whole. ``None`` starts anew.
        on_bad_sample: ``'stop'`` at a picture or annotation that cannot be used, or
            ``'skip'`` it and list it at the end.
        detect_anomaly: Stop at the first NaN or infinity, and name the layer.
        trust_checkpoint: Let checkpoints execute code.
        allow_download: Let checkpoints be fetched from ``http://`` and ``https://``.
        launcher: mmengine's: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        command: How the user called this, for messages.

    Returns:
        The work dir.

    Raises:
        UsageError: Something that the user can cure; the message says how.
        CheckpointError: A checkpoint cannot be read or does not fit.
        MissingPackageError: A package that the config needs is missing.
        PartlyFailedError: The training ended with losses that are not finite.
        Interruption: Ctrl-C or SIGTERM; what was trained is saved.

    Example:
        >>> from tinyvim_mm.training import train
        >>> train('tinyvim_s_300e_in1k', 'work_dirs/try', sample=True)  # doctest: +SKIP
        PosixPath('work_dirs/try')
    """
    if sample and strategy != 'ddp':
        raise UsageError(
            f'--strategy {strategy} does not go with --sample, which draws the predictions '
            'in one process'
        )
    if on_bad_sample == 'skip' and strategy != 'ddp':
        raise UsageError(f'--on-bad-sample skip does not go with --strategy {strategy}')
    name = str(config)
    cfg = prepare_config(
        config, work_dir, sample, options, data_root, launcher, trust_checkpoint, allow_new_keys
    )
    if amp:
        apply_amp(cfg)
    if auto_scale_lr:
        _scale_lr(cfg, name)
    with writing_into(cfg.work_dir, lock=is_first_process(launcher)) as lock:
        _find_start(cfg, resume, trust_checkpoint)
        with building(cfg, name), naming_lost_processes(), explaining(cfg.work_dir):
            choose_layout(cfg, channels_last, strategy)
            apply_strategy(cfg, strategy)
            check_data(cfg, ('train', 'test') if sample else ('train', 'val'), command)
            check_pretrained(cfg)
            check_teacher(cfg)
            runner = (FlexibleRunner if 'strategy' in cfg else ToolRunner).from_cfg(cfg)
        if on_bad_sample == 'skip' and isinstance(runner, ToolRunner):
            runner.skip_bad_samples(resumed=bool(resume))
        record = RunRecordHook(name, sample, options)
        _register_hooks(runner, record, strategy, detect_anomaly)
        if lock:
            runner.register_hook(WorkDirHook(lock))
        interruption = InterruptionHook(command)
        runner.register_hook(interruption)
        whole_run = building(cfg, name, running=True)
        with record.keeping(runner), whole_run, naming_lost_processes():
            with interruption.watching():
                runner.train()
            if sample:
                report_training(runner)
    refuse_not_finite_end(runner)
    return Path(cfg.work_dir)


def _find_start(cfg: Config, resume: Union[str, Path, None], trust: bool) -> None:
    if resume == 'auto':
        latest = latest_checkpoint(cfg.work_dir, trust)
        cfg.resume = latest is not None
        cfg.load_from = latest or cfg.get('load_from')
        if latest is None:
            print(_nothing_to_resume(cfg), flush=True)
    elif resume:
        cfg.resume = True
        cfg.load_from = existing_checkpoint(str(resume), '--resume')


def _register_hooks(
    runner: Union[Runner, FlexibleRunner],
    record: RunRecordHook,
    strategy: str,
    detect_anomaly: bool,
) -> None:
    cfg = runner.cfg
    runner.register_hook(LogHook())
    runner.register_hook(NotFiniteHook())
    runner.register_hook(record)
    if cfg.channels_last:
        runner.register_hook(PlainCheckpointHook())
    if strategy != 'deepspeed':  # which reads folders of its own
        runner.register_hook(FitHook(partial=True))
    if cfg.get('randomness', {}).get('seed') is not None:
        seeding = IterationSeedHook if 'max_iters' in cfg.train_cfg else EpochSeedHook
        runner.register_hook(seeding(runner.seed))
    if detect_anomaly:
        runner.register_hook(AnomalyHook())


def _nothing_to_resume(cfg: Config) -> str:
    start = f'the weights in {cfg.load_from}' if cfg.load_from else 'the beginning'
    return f'--resume: nothing was saved in {cfg.work_dir} yet; this training starts from {start}'


def _scale_lr(cfg: Config, name: str) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UsageError(
            f'--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in {name}: the batch '
            'size, over all devices, that its learning rate was chosen for'
        )
    cfg.auto_scale_lr.enable = True
