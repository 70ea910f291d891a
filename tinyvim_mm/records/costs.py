"""What a training costs on other numbers of devices than it was measured on."""

import statistics
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Union

from ..core import tables
from ..core.compat import apply as apply_compat
from ..core.errors import UsageError
from ..recipes.configs import find_config, load_config
from ..toolboxes import toolbox_of
from .changes import recipe_of
from .training_log import LogError, TrainingLog, read_log


def estimate_cost(
    log: Union[str, Path],
    *,
    config: Optional[str] = None,
    devices: Sequence[int] = (1, 8, 64),
    batch_per_gpu: Optional[int] = None,
    images: Optional[int] = None,
    efficiency: float = 1.0,
    price_per_gpu_hour: Optional[float] = None,
) -> str:
    """Tell how long a whole schedule takes, from the time of a step in a log.

    Args:
        log: Work dir of a training, finished or running, or a ``scalars.json`` in it.
        config: Take schedule and total batch of this config; ``None`` takes the one that was
            trained, or of a run on the sample photographs its recipe.
        devices: Numbers of devices, a row each.
        batch_per_gpu: Images of one device in one step; ``None`` divides the total batch of
            the recipe.
        images: Images of an epoch; ``None`` takes those of the log or the data.
        efficiency: Throughput of a device among several, as a share of the measured one,
            where there are more of them than measured.
        price_per_gpu_hour: Adds the cost, in the same currency.

    Returns:
        What was measured, a table in Markdown, and what it assumes.

    Raises:
        UsageError: There is no readable log, or it does not tell what is needed.

    Example:
        >>> from tinyvim_mm.records import estimate_cost
        >>> print(estimate_cost('work_dirs/tinyvim_s_300e_in1k'))  # doctest: +SKIP
    """
    try:
        found = read_log(Path(log))
    except LogError as error:
        raise UsageError(str(error)) from error
    speed = measure(found)
    schedule = schedule_of(found, config, images)
    head = ['devices', 'images each', 'steps', 'hours', 'device-hours']
    if price_per_gpu_hour is not None:
        head.append('cost')
    rows = []
    for number in devices:
        each = batch_per_gpu or schedule.batch // number
        if batch_per_gpu is None and schedule.batch % number:
            note = f'{schedule.batch} images cannot be divided: give --batch-per-gpu'
            rows.append([number, note, *[''] * (len(head) - 2)])
            continue
        share = efficiency if number > found.devices else 1.0
        seconds = schedule.epochs * schedule.images / (speed.images * number * share)
        time = seconds / 3600
        steps = schedule.steps(each * number)
        rows.append([number, each, f'{steps:,}', f'{time:,.1f}', f'{time * number:,.1f}'])
        if price_per_gpu_hour is not None:
            rows[-1].append(f'{time * number * price_per_gpu_hour:,.2f}')
    table = tables.markdown(head, rows, spaced=True)
    assumptions = _assumptions(schedule, efficiency, batch_per_gpu)
    return '\n'.join([*_measured(found, speed, schedule), '', *table, '', *assumptions])


class Speed(NamedTuple):
    """Medians of a log: seconds of a step, and of waiting for its data.

    ``records`` is the number of records behind them, ``images`` those of a second on one device.
    """

    seconds: float
    waiting: float
    records: int
    images: float


def measure(log: TrainingLog) -> Speed:
    """Take the time of a step from a log, without the first record, which warms up."""
    timed = [record for record in log.records if 'time' in record]
    timed = timed[1:] or timed
    if not timed or 'batch_size' not in log.cfg.train_dataloader:
        raise UsageError(f'the log in {log.work_dir} has no times of steps, or no batch size')
    seconds = statistics.median(record['time'] for record in timed)
    waiting = statistics.median(record.get('data_time', 0.0) for record in timed)
    return Speed(seconds, waiting, len(timed), log.batch_size / seconds)


class Schedule(NamedTuple):
    """What a training has to do: epochs (1 where iterations count), and images in each.

    ``batch`` are the images of a step over all devices; ``words`` say it for the reader.
    """

    epochs: int
    images: int
    batch: int
    words: str

    def steps(self, batch: int) -> int:
        """Steps with ``batch`` images each, the last one of an epoch with the rest."""
        return self.epochs * -(-self.images // batch)


def schedule_of(log: TrainingLog, config: Optional[str], images: Optional[int]) -> Schedule:
    """The schedule of another config, or of the measured training.

    Raises:
        UsageError: It does not follow from these, or the size of an epoch.
    """
    cfg, of_log = log.cfg, True
    path = find_config(config) if config else recipe_of(log) if log.on_sample else None
    if path is not None:
        apply_compat()
        cfg, of_log = load_config(path), False
    elif log.on_sample:
        raise UsageError(
            f'{log.work_dir} was trained on the sample photographs with {log.name}, which is none '
            'of the configs of this project: say with --config which schedule is meant'
        )
    measured_batch = log.batch_size * log.devices
    # The batch for which the learning rate was chosen.
    batch = cfg.get('auto_scale_lr', {}).get('base_batch_size') or measured_batch
    if 'max_iters' in cfg.train_cfg:
        steps = cfg.train_cfg.max_iters
        return Schedule(1, steps * batch, batch, f'{steps:,} iterations of {batch} images')
    if images is None and of_log:
        images = (log.steps_per_epoch or 0) * measured_batch
    elif images is None:
        data = toolbox_of(cfg).FULL_DATA.get(cfg.train_dataloader.dataset.type.rpartition('.')[2])
        images = data and data.train_images
    if not images:
        raise UsageError('the number of images in an epoch is not known here: give --images')
    epochs = cfg.train_cfg.max_epochs
    return Schedule(epochs, images, batch, f'{epochs} epochs of {images:,} images')


def _measured(log: TrainingLog, speed: Speed, schedule: Schedule) -> List[str]:
    lines = [
        f'measured: {log.name} on {log.devices} x {log.device}, {log.batch_size} images each: '
        f'{speed.seconds:.3f} s a step, {speed.waiting:.3f} s of it waiting for data (medians of '
        f'{speed.records} records), {speed.images:.2f} images a second on a device',
        f'schedule: {schedule.words}',
    ]
    if log.device == 'CPU':
        lines.insert(0, 'MEASURED ON A CPU: these are hours of such CPUs, and tell nothing of GPUs')
    if log.on_sample:
        warning = 'its images are smaller than those of the recipe, whose steps take longer'
        lines.insert(0, f'MEASURED WITH --sample: {warning}')
    return lines


def _assumptions(schedule: Schedule, efficiency: float, batch_per_gpu: Optional[int]) -> List[str]:
    scaling = 'the throughput of a device does not depend on their number (--efficiency)'
    if efficiency != 1:
        scaling = f'with more devices than measured, each has {efficiency:g} of its throughput'
    lines = [
        'assumed:',
        f'- {scaling}',
        '- nor does it depend on how many images a device has in a step',
        '- the data arrive as fast as in the measured training',
        '- training alone: no validation, no start, no failures',
    ]
    if batch_per_gpu:
        lines.append(
            f'- as many images are read whatever the batch; the learning rate is for a batch of '
            f'{schedule.batch} (--auto-scale-lr)'
        )
    return lines
