"""``--sample``: the same config on the photographs shipped with the project.

The run keeps the network, the losses, the optimizer and the kind of schedule of the config. A few
photographs and a laptop stand in for a dataset and eight GPUs; what has to change for that is in
``toolboxes/*.py``, each change with its reason. The run prints all of them when it starts.
"""

import textwrap
from pathlib import Path
from typing import Iterator

from mmengine.config import Config

from ..core import environment
from ..core.devices import computes_in_bfloat16
from ..core.paths import shown
from ..toolboxes import toolbox_of
from ..toolboxes.common import Change
from .precision import CPU_WRAPPER


def apply_sample(cfg: Config, config_path: Path) -> str:
    """Let a config as it was loaded from ``config_path`` run on the shipped photographs.

    Returns:
        What it changes, and why, in lines.

    Raises:
        UsageError: There are no photographs for this dataset, or not where a clone has them.
    """
    lines = [f'--sample changes these settings of {shown(config_path)}:']
    for change in _changes(cfg, config_path):
        cfg.merge_from_dict({change.key: change.value})
        value = textwrap.shorten(str(change.value), 80, placeholder=' ...')
        lines += [f'  {change.key} = {value}', f'      {change.reason}']
    return '\n'.join(lines)


def _changes(cfg: Config, config_path: Path) -> Iterator[Change]:
    yield from toolbox_of(cfg).sample_changes(cfg, config_path)
    if environment.accelerator() is None and computes_in_bfloat16():
        reason = 'this processor computes in bfloat16, which takes less time'
        yield Change('optim_wrapper.type', CPU_WRAPPER, reason)
