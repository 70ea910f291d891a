"""What the log of a training tells: how far it came, on what, how fast, with which scores."""

import ast
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional

from ..core.paths import PROJECT_ROOT
from ..toolboxes import SCOPES, Toolbox, toolbox_of
from .scalars import Record, read_runs, read_validations

if TYPE_CHECKING:
    from mmengine.config import Config

_SAMPLES = PROJECT_ROOT / 'data' / 'sample'


class LogError(Exception):
    """A log is missing or damaged; the message says which file and what is wrong with it."""


@dataclass(frozen=True)
class TrainingLog:
    """One training, over the runs that resumed it.

    Attributes:
        work_dir: Where it lies.
        name: Name of the config.
        cfg: The config as it was run.
        records: Losses and times, in order of ``step``; see :func:`.scalars.read_runs`.
        validations: Scores, in order of ``step``; see :func:`.scalars.read_validations`.
        devices: Number of processes, each with one device.
        device: Name of the accelerator, or ``'CPU'``.
        versions: Packages and their versions, in one line.
        seconds: How long the runs took together, validation included.
        steps_per_epoch: ``None`` of a training that counts iterations.
        saved: Epoch, or iteration, of the last checkpoint that was written.
    """

    work_dir: Path
    name: str
    cfg: 'Config'
    records: List[Record]
    validations: List[Record]
    devices: int
    device: str
    versions: str
    seconds: float
    steps_per_epoch: Optional[int]
    saved: int

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
        return max(trained, validated, self.saved)

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
        return Path(root).resolve().is_relative_to(_SAMPLES) or 'data/sample/' in root


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
        runs = read_runs(work_dir, until)
        validations: List[Record] = []
        for run in reversed(runs):
            first = validations[0]['step'] if validations else float('inf')
            earlier = read_validations(run / 'vis_data' / 'scalars.json')
            validations = [record for record in earlier if record['step'] < first] + validations
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise LogError(str(error)) from error
    last = list(runs)[-1]
    cfg = _read_config(last / 'vis_data' / 'config.py')
    texts = [_read_text(run / f'{run.name}.log') for run in runs]
    text = texts[-1]
    lengths = re.findall(r'Epoch\(train\) +\[\d+\]\[ *\d+/(\d+)\]', text)
    return TrainingLog(
        work_dir=work_dir,
        name=_config_name(work_dir),
        cfg=cfg,
        records=[record for records in runs.values() for record in records],
        validations=validations,
        devices=int(_find(r'^ *GPU number: (\d+)', text, last)),
        device=_device(text),
        versions=_versions(text),
        seconds=sum(_duration(part) for part in texts),
        steps_per_epoch=int(lengths[-1]) if lengths else None,
        saved=max(map(int, re.findall(r'Saving checkpoint at (\d+) ', text)), default=0),
    )


def _config_name(work_dir: Path) -> str:
    """Name of the config that Runner wrote into the work dir when it was built last."""
    files = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    return files[-1].stem if files else work_dir.name


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8', errors='replace')
    except OSError as error:
        raise LogError(f'{path} cannot be read: {error.strerror}') from error


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

    values: Dict[str, object] = {}
    try:
        for node in ast.parse(_read_text(path)).body:
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


def _find(pattern: str, text: str, run: Path) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if not found:
        raise LogError(
            f'{run}/{run.name}.log does not begin with the environment, as mmengine logs it'
        )
    return found[1]


def _device(text: str) -> str:
    names = re.findall(r'^ +GPU [\d,]+: (.+)$', text, re.MULTILINE)
    if names:
        return ' and '.join(dict.fromkeys(name.strip() for name in names))
    if re.search(r'^ +(CUDA|MUSA|NPU|MLU) available: True', text, re.MULTILINE):
        return 'an accelerator without a name'
    return 'CPU'


def _versions(text: str) -> str:
    found = re.search(r'packages: (.+)$', text, re.MULTILINE)
    if found:
        return found[1].strip()
    # A training that was started by another tool.
    pairs = [('torch', 'PyTorch'), ('mmengine', 'MMEngine')]
    lines = [(name, re.search(rf'^ +{key}: (.+)$', text, re.MULTILINE)) for name, key in pairs]
    return ', '.join(f'{name} {line[1].strip()}' for name, line in lines if line) or 'unknown'


def _duration(text: str) -> float:
    """Seconds between the first and the last line of a log that have a time."""
    times = re.findall(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', text, re.MULTILINE)
    if not times:
        return 0.0
    first, last = (datetime.strptime(time, '%Y/%m/%d %H:%M:%S') for time in (times[0], times[-1]))
    return (last - first).total_seconds()
