"""Runs without a ``run.json``: of another tool, or of a version that did not write it.

What such a run did not leave as data is searched in the text of mmengine's log.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Dict, List

from .run_record import RunRecord
from .scalars import read_validations


def read_log_text(run: Path) -> RunRecord:
    """What the log in the folder of a run tells; other fields have their defaults.

    Raises:
        ValueError: The log cannot be read, or does not begin as mmengine begins one.
    """
    file = run / f'{run.name}.log'
    try:
        text = file.read_text(encoding='utf-8', errors='replace')
    except OSError as error:
        raise ValueError(f'{file} cannot be read: {error.strerror}') from error
    processes = re.search(r'^ *GPU number: (\d+)', text, re.MULTILINE)
    if not processes:
        raise ValueError(f'{file} does not begin with the environment, as mmengine logs it')
    lengths = re.findall(r'Epoch\(train\) +\[\d+\]\[ *\d+/(\d+)\]', text)
    return RunRecord(
        config=_config_name(run.parent),
        seconds=_duration(text),
        devices=int(processes[1]),
        device_names=_device_names(text),
        versions=_versions(text),
        steps_per_epoch=int(lengths[-1]) if lengths else None,
        done=max(map(int, re.findall(r'Saving checkpoint at (\d+) ', text)), default=0),
        validations=read_validations(run / 'vis_data' / 'scalars.json'),
    )


def _config_name(work_dir: Path) -> str:
    """Name of the config that Runner wrote into the work dir when it was built last."""
    files = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    return files[-1].stem if files else work_dir.name


def _device_names(text: str) -> List[str]:
    names = re.findall(r'^ +GPU [\d,]+: (.+)$', text, re.MULTILINE)
    if names:
        return [name.strip() for name in names]
    if re.search(r'^ +(CUDA|MUSA|NPU|MLU) available: True', text, re.MULTILINE):
        return ['an accelerator without a name']
    return ['CPU']


def _versions(text: str) -> Dict[str, str]:
    found = re.search(r'packages: (.+)$', text, re.MULTILINE)
    if found:
        return dict(pair.split(' ', 1) for pair in found[1].strip().split(', '))
    # A training that was started by another tool.
    pairs = [('torch', 'PyTorch'), ('mmengine', 'MMEngine')]
    lines = [(name, re.search(rf'^ +{key}: (.+)$', text, re.MULTILINE)) for name, key in pairs]
    return {name: line[1].strip() for name, line in lines if line}


def _duration(text: str) -> float:
    """Seconds between the first and the last line of a log that have a time."""
    times = re.findall(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', text, re.MULTILINE)
    if not times:
        return 0.0
    first, last = (datetime.strptime(time, '%Y/%m/%d %H:%M:%S') for time in (times[0], times[-1]))
    return (last - first).total_seconds()
