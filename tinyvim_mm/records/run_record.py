"""``run.json``: what a run of a training is, and how far it came, as data.

:class:`tinyvim_mm.training.record.RunRecordHook` writes it into the folder of the run, beside
mmengine's logs: ``WORK_DIR/20260102_030000/run.json``. A training that was interrupted and
resumed has one for each run.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, List, Optional, Union, get_args, get_origin, get_type_hints

from ..core.paths import write_whole

FILE = 'run.json'
SCHEMA = 1

# Fields that records of earlier versions lack.
_LATER = ('precision', 'channels_last', 'losses_not_finite_since')

#: A run that was killed stays in the first of these states.
RUNNING, FINISHED, STOPPED = 'running', 'finished', 'stopped'


@dataclass
class RunRecord:
    """One run. What each field means, and its unit, says ``docs/run-record.md``."""

    schema: int = SCHEMA

    # What was asked for.
    config: str = ''
    config_path: str = ''
    sample: bool = False
    options: Dict[str, Any] = field(default_factory=dict)

    # When it ran, and how it ended.
    started: str = ''
    ended: Optional[str] = None
    seconds: float = 0.0
    state: str = RUNNING
    error: str = ''

    # What it ran on.
    devices: int = 1
    device_names: List[str] = field(default_factory=list)
    versions: Dict[str, str] = field(default_factory=dict)
    scan_backends: List[str] = field(default_factory=list)
    precision: Optional[str] = None
    channels_last: Optional[bool] = None

    # The schedule, and how far it came.
    batch_size: Optional[int] = None
    steps_per_epoch: Optional[int] = None
    unit: str = 'epochs'
    length: int = 0
    done: int = 0
    steps: int = 0
    resumed_from: Optional[str] = None
    checkpoints: List[str] = field(default_factory=list)
    validations: List[Dict[str, Any]] = field(default_factory=list)
    losses_not_finite_since: Optional[int] = None

    def write(self, folder: Path) -> None:
        """Write it into the folder of a run; whoever reads meanwhile sees the old one whole.

        Raises:
            OSError: The file cannot be written.
        """
        text = json.dumps(asdict(self), indent=2, default=str) + '\n'
        write_whole(Path(folder) / FILE, text.encode())


def read_record(folder: Path) -> RunRecord:
    """Read the record in the folder of a run.

    Raises:
        ValueError: The file is damaged, or of another schema; the message names it.
    """
    file = Path(folder) / FILE
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ValueError(f'{file} cannot be read: {error}') from error
    if not isinstance(content, dict) or 'schema' not in content:
        raise ValueError(f'{file} is no record of a run: it has no schema')
    if content['schema'] != SCHEMA:
        raise ValueError(
            f'{file} has schema {content["schema"]}, and this version of tinyvim_mm reads {SCHEMA}'
        )
    hints = get_type_hints(RunRecord)
    known = {
        f.name: content.get(f.name, None if f.name in _LATER else ...) for f in fields(RunRecord)
    }
    for name, value in known.items():
        if not isinstance(value, _types(hints[name])):
            found = 'is missing' if value is ... else f'is {value!r}'
            raise ValueError(f'{file} is no record of a run: {name} {found}')
    for validation in known['validations']:
        if not isinstance(validation, dict) or not isinstance(validation.get('step'), int):
            raise ValueError(f'{file} is no record of a run: a validation has no step')
    return RunRecord(**known)


def _types(hint: Any) -> tuple:
    """Types of the values that a type hint allows in JSON."""
    hints = get_args(hint) if get_origin(hint) is Union else (hint,)
    types = tuple(get_origin(each) or each for each in hints)
    return (*types, int) if float in types else types
