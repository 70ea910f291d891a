"""Work dirs as mmengine's Runner leaves them, without a training."""

import copy
import functools
import json

from tinyvim_mm.core import compat
from tinyvim_mm.recipes.configs import find_config, load_config
from tinyvim_mm.records.run_record import FINISHED, RunRecord

#: How a run tells of itself: as data, or in the text of its log alone, as before there was
#: a record.
KINDS = ('run.json', 'log')

# What mmengine 0.10 writes at the beginning of a log, shortened.
_HEADER = """\
2026/01/02 03:00:00 - mmengine - INFO -{blank}
------------------------------------------------------------
System environment:
    sys.platform: linux
    CUDA available: {cuda}
{names}    PyTorch: 2.13.0
    MMEngine: 0.10.12

Runtime environment:
    dist_cfg: {{'backend': 'nccl'}}
    Distributed training: {distributed}
    GPU number: {devices}
------------------------------------------------------------

2026/01/02 03:00:10 - mmengine - INFO - packages: tinyvim_mm 0.1.0, torch 2.13.0
"""


def write_work_dir(
    folder,
    config,
    validations=(),
    *,
    done,
    interval=50,
    devices=8,
    gpu='NVIDIA H100',
    steps_per_epoch=None,
    time=0.5,
    changes=None,
    timestamp='20260102_030000',
    checkpoint=True,
    kind='run.json',
    state=FINISHED,
    error='',
):
    """Write what a run of a training leaves behind.

    Args:
        folder: The work dir.
        config: Name of one of the project's configs.
        validations: A dictionary of scores for each, with its ``step``.
        done: Steps that were trained.
        interval: Steps between two records.
        devices: Number of processes.
        gpu: Name of the devices; ``None`` for a CPU.
        steps_per_epoch: ``None`` for a training that counts iterations.
        time: Seconds of a step.
        changes: As of ``--cfg-options``.
        timestamp: Name of the run's folder.
        checkpoint: Whether there is one.
        kind: One of :data:`KINDS`.
        state: Of the record.
        error: Of the record.
    """
    cfg = copy.deepcopy(_load(config))
    cfg.merge_from_dict(changes or {})
    run = folder / timestamp
    (run / 'vis_data').mkdir(parents=True)
    (run / 'vis_data' / 'config.py').write_text(cfg.pretty_text)
    (folder / f'{config}.py').write_text(cfg.pretty_text)
    records = []
    for step in range(interval, done + 1, interval):
        record = dict(lr=1e-4, data_time=0.1, loss=2.0, time=time, iter=step, step=step)
        if steps_per_epoch:
            record['epoch'] = (step - 1) // steps_per_epoch + 1
        records.append(record)
    records[0]['time'] *= 9  # of warming up
    lines = [json.dumps(record) for record in [*records, *validations]]
    (run / 'vis_data' / 'scalars.json').write_text('\n'.join(lines) + '\n')
    if kind == 'log':
        _write_log(run, gpu, devices, steps_per_epoch)
    else:
        schedule = cfg.train_cfg
        RunRecord(
            config=config,
            seconds=3600.0,
            state=state,
            error=error,
            devices=devices,
            device_names=[gpu or 'CPU'] * devices,
            versions={'tinyvim_mm': '0.1.0', 'torch': '2.13.0'},
            batch_size=cfg.train_dataloader.batch_size,
            steps_per_epoch=steps_per_epoch,
            unit='epochs' if steps_per_epoch else 'iterations',
            length=schedule.get('max_epochs') or schedule.max_iters,
            done=done // (steps_per_epoch or 1),
            steps=done,
            validations=list(validations),
        ).write(run)
    if checkpoint:
        (folder / 'last.pth').write_bytes(b'weights')
        (folder / 'last_checkpoint').write_text('/elsewhere/last.pth')
    return folder


@functools.lru_cache
def _load(config):
    compat.apply()
    return load_config(find_config(config))


def _write_log(run, gpu, devices, steps_per_epoch):
    names = f'    GPU {",".join(map(str, range(devices)))}: {gpu}\n' if gpu else ''
    text = _HEADER.format(
        blank=' ', cuda=bool(gpu), names=names, distributed=devices > 1, devices=devices
    )
    what = f'Epoch(train)  [1][  50/{steps_per_epoch}]' if steps_per_epoch else 'Iter(train) [50/9]'
    text += f'2026/01/02 04:00:00 - mmengine - INFO - {what}  lr: 1.0000e-04\n'
    (run / f'{run.name}.log').write_text(text)
