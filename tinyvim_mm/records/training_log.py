"""What a training left behind: how far it came, on what, how fast, with which scores."""

import ast
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional

from ..core.environment import SCOPES
from ..core.paths import SAMPLES
from ..toolboxes import Toolbox, toolbox_of
from .legacy import read_log_text
from .run_record import FILE, RunRecord, read_record
from .scalars import Record, read_runs

if TYPE_CHECKING:
    from mmengine.config import Config


class LogError(Exception):
    """A log is missing or damaged; the message says which file and what is wrong with it."""


@dataclass(frozen=True)
class TrainingLog:
    """One training, over the runs that resumed it.

    Attributes:
        work_dir: Where it lies.
        cfg: The config as it was run.
        records: Losses and times, in order of ``step``; see :func:`.scalars.read_runs`.
        validations: Scores, in order of ``step``; see :class:`.RunRecord`.
        runs: What each run tells of itself, the latest last.
    """

    work_dir: Path
    cfg: 'Config'
    records: List[Record]
    validations: List[Record]
    runs: List[RunRecord]

    @property
    def name(self) -> str:
        """Name of the config."""
        return self.runs[-1].config

    @property
    def devices(self) -> int:
        """Number of processes, each with one device."""
        return self.runs[-1].devices

    @property
    def device(self) -> str:
        """Name of the accelerators, or ``'CPU'``."""
        return ' and '.join(dict.fromkeys(self.runs[-1].device_names))

    @property
    def versions(self) -> str:
        """Packages and their versions, in one line."""
        pairs = self.runs[-1].versions.items()
        return ', '.join(f'{name} {version}' for name, version in pairs) or 'unknown'

    @property
    def seconds(self) -> float:
        """How long the runs took together, validation included."""
        return sum(run.seconds for run in self.runs)

    @property
    def steps_per_epoch(self) -> Optional[int]:
        """``None`` of a training that counts iterations."""
        return self.runs[-1].steps_per_epoch

    @property
    def toolbox(self) -> Toolbox:
        return toolbox_of(self.cfg)

    @property
    def by_epoch(self) -> bool:
        return 'max_epochs' in self.cfg.train_cfg

    @property
    def unit(self) -> str:
        return 'epochs' if self.by_epoch else 'iterations'

    @property
    def wanted(self) -> int:
        """Length of the schedule, in :attr:`unit`."""
        return self.cfg.train_cfg['max_epochs' if self.by_epoch else 'max_iters']

    @property
    def done(self) -> int:
        """How much of it was done, in :attr:`unit`."""
        step = int(self.records[-1]['step'])
        trained = step // (self.steps_per_epoch or step) if self.by_epoch else step
        validated = int(self.validations[-1]['step']) if self.validations else 0
        return max(trained, validated, self.runs[-1].done)

    @property
    def batch_size(self) -> int:
        """Images of one device in one step."""
        return int(self.cfg.train_dataloader.batch_size)

    @property
    def on_sample(self) -> bool:
        """Whether it read the photographs that are shipped with the project."""
        dataset = self.cfg.train_dataloader.dataset
        while 'dataset' in dataset:  # of RepeatDataset and the like
            dataset = dataset.dataset
        root = str(dataset.get('data_root', ''))
        return Path(root).resolve().is_relative_to(SAMPLES) or 'data/sample/' in root


def read_log(path: Path) -> TrainingLog:
    """Read the log of the latest training in a work dir; no code of it is run.

    Args:
        path: A work dir of ``tools/train.py``, or of mmengine's Runner; or, of an
            earlier training in it, the ``scalars.json``.

    Raises:
        LogError: There is none, or something in it is missing or damaged.
    """
    work_dir, until = Path(path), ''
    if work_dir.name == 'scalars.json':
        work_dir = work_dir.resolve()
        until, work_dir = work_dir.parents[1].name, work_dir.parents[2]
    if not work_dir.is_dir():
        raise LogError(f'there is no folder {work_dir}')
    try:
        records = _read_losses(work_dir, until)
        runs = [_read_run(folder) for folder in records]
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise LogError(str(error)) from error
    return TrainingLog(
        work_dir=work_dir,
        cfg=_read_config(list(records)[-1] / 'vis_data' / 'config.py'),
        records=[record for part in records.values() for record in part],
        validations=_join_validations(runs),
        runs=runs,
    )


def _read_losses(work_dir: Path, until: str) -> Dict[Path, List[Record]]:
    """See :func:`.scalars.read_runs`; where there are none, add why the latest run stopped."""
    try:
        return read_runs(work_dir, until)
    except FileNotFoundError as error:
        files = [f for f in sorted(work_dir.glob(f'*/{FILE}')) if f.parent.name <= (until or '~')]
        reason = read_record(files[-1].parent).error if files else ''
        if not reason:
            raise
        raise FileNotFoundError(f'{error}; {files[-1]} says why: {reason}') from error


def _read_run(folder: Path) -> RunRecord:
    return read_record(folder) if (folder / FILE).is_file() else read_log_text(folder)


def _join_validations(runs: List[RunRecord]) -> List[Record]:
    """Those of an interrupted run count that lie before the first of the run that resumed it."""
    joined: List[Record] = []
    for run in reversed(runs):
        first = joined[0]['step'] if joined else math.inf
        earlier = [record for record in run.validations if record['step'] < first]
        joined = [_with_nan(record) for record in earlier] + joined
    return joined


def _with_nan(record: Record) -> Record:
    """JSON has no nan."""
    return {key: math.nan if value is None else value for key, value in record.items()}


class _Literals(ast.NodeTransformer):
    """Turns what mmengine writes for dictionaries and numbers into literals of Python."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        named = all(keyword.arg for keyword in node.keywords)
        if getattr(node.func, 'id', '') != 'dict' or node.args or not named:
            return node  # literal_eval refuses it
        keys = [ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict(keys=keys, values=[keyword.value for keyword in node.keywords])

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(float(node.id)) if node.id in ('inf', 'nan') else node


def _read_config(path: Path) -> 'Config':
    """Read a dumped config without running it as Python, which Config.fromfile would do."""
    from mmengine.config import Config

    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except OSError as error:
        raise LogError(f'{path} cannot be read: {error.strerror}') from error
    values: Dict[str, object] = {}
    try:
        for node in ast.parse(text).body:
            value = ast.fix_missing_locations(_Literals().visit(node.value))
            values[node.targets[0].id] = ast.literal_eval(value)
    except (SyntaxError, ValueError, AttributeError) as error:
        raise LogError(f'{path} is no config as mmengine dumps it: {error}') from error
    cfg = Config(values)
    missing = {'model', 'train_cfg', 'train_dataloader'} - set(cfg)
    if missing:
        raise LogError(f'{path} has no {", ".join(sorted(missing))}')
    if cfg.get('default_scope') not in SCOPES:
        raise LogError(f'{path} is of no toolbox that is known: {", ".join(SCOPES)}')
    return cfg
