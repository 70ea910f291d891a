"""What a training costs on 1, 8 and 64 devices: what stands behind ``tools/estimate_cost.py``."""

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence

from ..commands.options import count
from ..commands.run import run_command
from ..core.compat import apply as apply_compat
from ..core.errors import UsageError
from ..recipes.configs import find_config, load_config
from ..toolboxes import toolbox_of
from .changes import recipe_of
from .training_log import LogError, TrainingLog, read_log

DEVICES = (1, 8, 64)


def build_parser() -> argparse.ArgumentParser:
    """Options of ``tools/estimate_cost.py``."""
    parser = argparse.ArgumentParser(
        prog='tools/estimate_cost.py',
        description='From the time of a step in the log of a training, finished or running, tell '
        'how long the whole schedule takes on other numbers of devices. A few hundred steps on '
        "the recipe's data and one device of the kind in question are enough for a log.",
    )
    parser.add_argument(
        'log',
        metavar='WORK_DIR_OR_LOG',
        type=Path,
        help='work dir of the training, or a scalars.json in it',
    )
    parser.add_argument(
        '--config',
        help='take schedule and total batch of this config (default: the one that was trained; of '
        'a run with --sample, its recipe)',
    )
    parser.add_argument(
        '--devices', type=count, nargs='+', default=list(DEVICES), help='default: %(default)s'
    )
    parser.add_argument(
        '--batch-per-gpu',
        type=count,
        help='images of one device in one step (default: the total batch of the recipe, divided)',
    )
    parser.add_argument(
        '--images', type=count, help='images of an epoch (default: those of the log or the data)'
    )
    parser.add_argument(
        '--efficiency',
        type=_share,
        default=1.0,
        help='throughput of a device among several, as a share of the measured one, where there '
        'are more of them than measured (default: 1, linear scaling)',
    )
    parser.add_argument('--price-per-gpu-hour', type=float, metavar='P', help='adds the cost')
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/estimate_cost.py``.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Raises:
        SystemExit: With code 2 after an error in the command or the log.
    """
    run_command(build_parser(), estimate, argv)


def estimate(args: argparse.Namespace) -> None:
    """Print what was measured, the table, and what it assumes.

    Args:
        args: Parsed by :func:`build_parser`.

    Raises:
        UsageError: There is no readable log, or it does not tell what is needed.
    """
    try:
        log = read_log(args.log)
    except LogError as error:
        raise UsageError(str(error)) from error
    speed = measure(log)
    schedule = schedule_of(log, args.config, args.images)
    print('\n'.join(_report(log, speed, schedule, args)))


@dataclass(frozen=True)
class Speed:
    """What a log says of a step.

    Attributes:
        seconds: Median of a step.
        waiting: Median of the seconds of it that the data were waited for.
        records: Number of records behind the medians.
        images: Images a second on one device.
    """

    seconds: float
    waiting: float
    records: int
    images: float


def measure(log: TrainingLog) -> Speed:
    """Take the time of a step from a log, without the first record, which warms up.

    Raises:
        UsageError: There are no times in it.
    """
    timed = [record for record in log.records if 'time' in record]
    timed = timed[1:] or timed
    if not timed or 'batch_size' not in log.cfg.train_dataloader:
        raise UsageError(f'the log in {log.work_dir} has no times of steps, or no batch size')
    seconds = statistics.median(record['time'] for record in timed)
    waiting = statistics.median(record.get('data_time', 0.0) for record in timed)
    return Speed(seconds, waiting, len(timed), log.batch_size / seconds)


@dataclass(frozen=True)
class Schedule:
    """What a training has to do.

    Attributes:
        epochs: How often it goes over the data; 1 of a training that counts iterations.
        images: Images that are read in one of them.
        batch: Images of a step over all devices.
        words: How the number of images comes about.
    """

    epochs: int
    images: int
    batch: int
    words: str

    def steps(self, batch: int) -> int:
        """Steps with ``batch`` images each, the last one of an epoch with the rest."""
        return self.epochs * -(-self.images // batch)


def schedule_of(log: TrainingLog, config: Optional[str], images: Optional[int]) -> Schedule:
    """The schedule whose cost is asked for.

    Args:
        log: Of the measured training.
        config: Name or path of another config, or ``None``.
        images: Images of an epoch, or ``None``.

    Raises:
        UsageError: The schedule or the size of an epoch does not follow from these.
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
        data = toolbox_of(cfg).FULL_DATA.get(cfg.train_dataloader.dataset.type)
        images = data and data.train_images
    if not images:
        raise UsageError('the number of images in an epoch is not known here: give --images')
    epochs = cfg.train_cfg.max_epochs
    return Schedule(epochs, images, batch, f'{epochs} epochs of {images:,} images')


def hours(schedule: Schedule, speed: Speed, devices: int, share: float) -> float:
    """Time of a training.

    Args:
        schedule: What has to be done.
        speed: What one device does.
        devices: How many there are.
        share: Of the measured throughput that each of them has.
    """
    return schedule.epochs * schedule.images / (speed.images * devices * share) / 3600


def _report(
    log: TrainingLog, speed: Speed, schedule: Schedule, args: argparse.Namespace
) -> List[str]:
    lines = [
        f'measured: {log.name} on {log.devices} x {log.device}, {log.batch_size} images each: '
        f'{speed.seconds:.3f} s a step, {speed.waiting:.3f} s of it waiting for data (medians of '
        f'{speed.records} records), {speed.images:.2f} images a second on a device',
        f'schedule: {schedule.words}',
        '',
    ]
    if log.device == 'CPU':
        lines.insert(0, 'MEASURED ON A CPU: these are hours of such CPUs, and tell nothing of GPUs')
    if log.on_sample:
        lines.insert(
            0,
            'MEASURED WITH --sample: its images are smaller than those of the recipe, whose steps '
            'take longer',
        )
    priced = args.price_per_gpu_hour is not None
    head = ['devices', 'images each', 'steps', 'hours', 'device-hours', *(['cost'] * priced)]
    lines += [_line(head), _line(['---'] * len(head))]
    for devices in args.devices:
        each = args.batch_per_gpu or schedule.batch // devices
        if args.batch_per_gpu is None and schedule.batch % devices:
            note = f'{schedule.batch} images cannot be divided: give --batch-per-gpu'
            lines.append(_line([str(devices), note, *[''] * (len(head) - 2)]))
            continue
        share = args.efficiency if devices > log.devices else 1.0
        time = hours(schedule, speed, devices, share)
        steps = schedule.steps(each * devices)
        cells = [f'{devices}', f'{each}', f'{steps:,}', f'{time:,.1f}', f'{time * devices:,.1f}']
        if priced:
            cells.append(f'{time * devices * args.price_per_gpu_hour:,.2f}')
        lines.append(_line(cells))
    return [*lines, '', *_assumptions(schedule, args)]


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'


def _assumptions(schedule: Schedule, args: argparse.Namespace) -> List[str]:
    scaling = (
        'the throughput of a device does not depend on their number (--efficiency)'
        if args.efficiency == 1
        else f'with more devices than measured, each has {args.efficiency:g} of its throughput'
    )
    lines = [
        'assumed:',
        f'- {scaling}',
        '- nor does it depend on how many images a device has in a step',
        '- the data arrive as fast as in the measured training',
        '- training alone: no validation, no start, no failures',
    ]
    if args.batch_per_gpu:
        lines.append(
            f'- as many images are read whatever the batch; the learning rate is for a batch of '
            f'{schedule.batch} (--auto-scale-lr)'
        )
    return lines
