"""What is kept of a row: one JSON file, from which tables and pictures are made."""

import json
import math
from dataclasses import asdict, dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch

from ..core.paths import file_sha256, write_whole
from ..measuring.timing import provenance
from ..records.costs import measure
from ..records.training_log import TrainingLog
from .rows import ROWS, TABLES

SCHEMA = 1
#: Points of the curve of losses; a log has a hundred times as many.
_POINTS = 60


@dataclass
class ScoreRecord:
    """One row, measured.

    Attributes:
        row: Its name in :data:`.rows.ROWS`.
        seed, config, start: As the row says.
        command: Measures it again.
        split: On which ``scores`` were measured.
        scores: As the toolbox's metric calls and scales them.
        started: Of the training, ISO 8601.
        hours: Of the training with its validations, over all runs that resumed it.
        images_per_second: Of its steps; other work on the machine counts against it.
        length, unit: Of the schedule.
        batch_size: Images of a step.
        machine: Processor or GPU, threads, precision, layout, scan.
        versions: Packages and their versions.
        validations: Scores of each validation, with ``step`` in ``unit``.
        losses: ``[step, loss]``, means of equal parts of the training.
        checkpoint: Name of the file that was scored.
        sha256: Of that file.
        options: What the training changed of its config: dotted keys to values.
    """

    row: str
    seed: int
    config: str
    start: str
    command: str
    split: str
    scores: Dict[str, Optional[float]]
    started: str
    hours: float
    images_per_second: float
    length: int
    unit: str
    batch_size: int
    machine: Dict[str, Any]
    versions: Dict[str, str]
    validations: List[Dict[str, Any]]
    losses: List[List[float]]
    checkpoint: str
    sha256: str
    options: Dict[str, Any] = field(default_factory=dict)

    def write(self, file: Path) -> None:
        """Write it; whoever reads meanwhile sees the old one whole."""
        content = _without_nan({'schema': SCHEMA, **asdict(self)})
        write_whole(file, (json.dumps(content, indent=1) + '\n').encode())

    @property
    def figure(self) -> float:
        """The figure that its table compares, in percent; nan if there is none."""
        table = TABLES[ROWS[self.row].table]
        value = self.scores.get(table.score)
        return math.nan if value is None else value * table.scale


def read_record(file: Path) -> ScoreRecord:
    """Read one.

    Raises:
        ValueError: It is damaged, of another schema, or of no row that is known.
    """
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
        if content.pop('schema') != SCHEMA or content['row'] not in ROWS:
            raise ValueError('its schema or its row is not known here')
        return ScoreRecord(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{file} is no record of a row: {error!r}') from error


def make_record(
    name: str,
    log: TrainingLog,
    scores: Dict[str, float],
    checkpoint: Path,
    device: torch.device,
) -> ScoreRecord:
    """Put together what a training left behind, and how it scores."""
    row, run = ROWS[name], log.runs[-1]
    facts = provenance(device)
    return ScoreRecord(
        row=name,
        seed=row.seed,
        config=row.config,
        start=row.start,
        command=f'tinyvim-mm scores {name}',
        split=TABLES[row.table].split,
        scores={key: float(v) for key, v in scores.items() if isinstance(v, Real)},
        started=log.runs[0].started,
        hours=round(log.seconds / 3600, 3),
        images_per_second=round(measure(log).images * log.devices, 1),
        length=log.wanted,
        unit=log.unit,
        batch_size=log.batch_size * log.devices,
        machine=dict(
            device=facts['device'],
            devices=log.devices,
            threads=facts['threads'],
            precision=run.precision,
            channels_last=run.channels_last,
            scan=run.scan_backends,
        ),
        versions={'python': facts['python'], **run.versions},
        validations=log.validations,
        losses=_thinned([[r['step'], r['loss']] for r in log.records]),
        checkpoint=checkpoint.name,
        sha256=file_sha256(checkpoint),
        options=run.options,
    )


def _thinned(points: List[List[float]]) -> List[List[float]]:
    """Means of at most so many parts, each at its last step."""
    size = max(1, math.ceil(len(points) / _POINTS))
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [[part[-1][0], round(sum(y for _, y in part) / len(part), 4)] for part in parts]


def _without_nan(value: Any) -> Any:
    """JSON has no nan."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
