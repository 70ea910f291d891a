"""``run.json``: what a run of a training is, and how far it came, as data.

:class:`tinyvim_mm.training.record.RunRecordHook` writes it into the folder of the run, beside
mmengine's logs: ``WORK_DIR/20260102_030000/run.json``. A training that was interrupted and
resumed has one for each run. ``docs/run-record.md`` shows an example.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, List, Optional, Union, get_args, get_origin, get_type_hints

from ..core.paths import put_in_place

FILE = 'run.json'
#: Rises when a field changes its meaning. Readers pass over fields that they do not know.
SCHEMA = 1

RUNNING, FINISHED, STOPPED = 'running', 'finished', 'stopped'


@dataclass
class RunRecord:
    """One run.

    Attributes:
        schema: :data:`SCHEMA` of the version that wrote it.
        config: Name of the config, without folder and suffix.
        config_path: The config as the user gave it: a name or a path.
        sample: Whether ``--sample`` changed it.
        options: What ``--cfg-options`` changed: dotted keys to values.
        started: When the run started: ISO 8601, local time with its offset from UTC.
        ended: When it ended, likewise; ``None`` of a run that goes on or was killed.
        seconds: From the start to the time this was written.
        state: :data:`RUNNING` (or killed), :data:`FINISHED` or :data:`STOPPED` by an error.
        error: Type and words of that error, else empty.
        devices: Number of processes, each with one device.
        device_names: Name of the device of each process, ``'CPU'`` without an accelerator.
        versions: Packages and their versions.
        scan_backends: Which implementation of the scan runs; several if layers differ.
        batch_size: Images of one device in one step; ``None`` if a batch sampler decides.
        steps_per_epoch: ``None`` of a training that counts iterations.
        unit: Of the schedule: ``'epochs'`` or ``'iterations'``.
        length: Of the schedule, in this unit.
        done: How much of it was done, in this unit, by the resumed runs too.
        steps: Iterations that were done, by the resumed runs too.
        resumed_from: Path of the checkpoint that the run went on from.
        checkpoints: Names of the files that this run saved, the oldest first. mmengine may have
            removed some since (``max_keep_ckpts``).
        validations: The scores of each validation as mmengine names them, and ``step``: when it
            was, in epochs or iterations. A score that is not finite is ``None``.
    """

    schema: int = SCHEMA
    config: str = ''
    config_path: str = ''
    sample: bool = False
    options: Dict[str, Any] = field(default_factory=dict)
    started: str = ''
    ended: Optional[str] = None
    seconds: float = 0.0
    state: str = RUNNING
    error: str = ''
    devices: int = 1
    device_names: List[str] = field(default_factory=list)
    versions: Dict[str, str] = field(default_factory=dict)
    scan_backends: List[str] = field(default_factory=list)
    batch_size: Optional[int] = None
    steps_per_epoch: Optional[int] = None
    unit: str = 'epochs'
    length: int = 0
    done: int = 0
    steps: int = 0
    resumed_from: Optional[str] = None
    checkpoints: List[str] = field(default_factory=list)
    validations: List[Dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write it into the folder of a run; whoever reads meanwhile sees the old one whole.

        Raises:
            OSError: The file cannot be written.
        """
        part = Path(folder) / f'.{FILE}.part'
        text = json.dumps(asdict(self), indent=2, default=str)
        part.write_text(text + '\n', encoding='utf-8')
        put_in_place(part, Path(folder) / FILE)


def read_record(folder: Path) -> RunRecord:
    """Read the record of a run.

    Args:
        folder: Of the run; it holds a ``run.json``.

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
    known = {f.name: content.get(f.name, ...) for f in fields(RunRecord)}
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
    if hint is float:
        return (int, float)
    hints = get_args(hint) if get_origin(hint) is Union else (hint,)
    return tuple(get_origin(each) or each for each in hints)
