"""Size and speed of the classifiers of a table, in turns on one machine."""

import copy
import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..core.paths import shown, write_whole
from ..measuring.cost import count
from ..measuring.timing import provenance, time_in_turns
from ..models.reparameterization import reparameterize
from ..recipes.configs import find_config, load_config
from ..training.memory_format import use_channels_last
from .rows import ROWS, rows_of

TABLE = 'imagenette-15e'
FILE = 'speed.json'
_SIZE = 128
_TRAINING_BATCH, _BATCH = 64, 16


class Speeds(NamedTuple):
    """What was measured, by title of a row, and on what; empty if nothing was."""

    rows: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, Any]

    def head(self, table: str) -> List[str]:
        """Heads of the columns in a table."""
        if table != TABLE:
            return []
        words = 'parameters, M', 'GMACs', 'images/s of training', 'images/s deployed, fp32'
        return list(words) if self.rows else []

    def cells(self, table: str, title: str) -> List[str]:
        """The columns in the row of a title."""
        if not self.head(table):
            return []
        row = self.rows.get(title)
        if row is None:
            return [''] * len(self.head(table))
        return [
            f'{row["parameters"] / 1e6:.2f}',
            f'{row["macs"] / 1e9:.3f}',
            f'{row["training"]:.0f} ± {row["training_spread"]:.0f}',
            f'{row["deployed"]:.0f} ± {row["deployed_spread"]:.0f}',
        ]

    def notes(self, table: str) -> List[str]:
        """What a reader of the columns must know."""
        if not self.head(table):
            return []
        facts = ', '.join(f'{name} {value}' for name, value in self.facts.items())
        return [
            f'- Parameters, GMACs and speed of the classifiers at {_SIZE} pixels, in turns on an '
            f'idle machine. Training: whole steps of {_TRAINING_BATCH} images without loading, '
            'in bf16, channels-last on a CPU; deployed: reparameterized, batches of '
            f'{_BATCH}, eager. ± is the distance between the quartiles. {facts}'
        ]


def read_speeds(folder: Path) -> Speeds:
    """What :func:`measure_speeds` wrote there; empty where it did not."""
    file = folder / FILE
    if not file.is_file():
        return Speeds({}, {})
    content = json.loads(file.read_text(encoding='utf-8'))
    return Speeds(content['rows'], content['provenance'])


def measure_speeds(folder: Path, rounds: int, command: Optional[str] = None) -> None:
    """Time training and deployed inference of each title, and write ``speed.json``."""
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    configs = {ROWS[n].title: ROWS[n].config for n in rows_of(TABLE) if not ROWS[n].seed}
    # The teacher, where there is one, costs no more at inference, and its file may be missing.
    configs = {title: config for title, config in configs.items() if 'distilled' not in config}
    rows: Dict[str, Dict[str, float]] = {}
    steps: Dict[str, Callable[[], Any]] = {}
    calls: Dict[str, Callable[[], Any]] = {}
    for title, config in configs.items():
        print(f'{title} ...', flush=True)
        model = _build(config)
        deployed = reparameterize(copy.deepcopy(model)).eval()
        cost = count(_Scores(deployed), (_SIZE, _SIZE))
        rows[title] = dict(
            parameters=cost.parameters, macs=(cost.macs or 0) + (cost.scan_macs or 0)
        )
        steps[title] = _training_step(model.to(device), device)
        calls[title] = _inference(_Scores(deployed.to(device)), device)
    for kind, contenders, batch in (
        ('training', steps, _TRAINING_BATCH),
        ('deployed', calls, _BATCH),
    ):
        for title, timing in time_in_turns(contenders, device, rounds).items():
            rate = batch / timing.median
            rows[title][kind] = rate
            rows[title][f'{kind}_spread'] = rate * timing.spread / timing.median
    folder.mkdir(parents=True, exist_ok=True)
    content = dict(provenance=provenance(device, command), rows=rows)
    write_whole(folder / FILE, (json.dumps(content, indent=1) + '\n').encode())
    print(f'Written: {shown(folder / FILE)}')


class _Scores(nn.Module):
    """The scores of a classifier, from normalized images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> Any:
        return self.model(images, mode='tensor')


def _build(config: str) -> nn.Module:
    cfg = load_config(find_config(config))
    init_default_scope(cfg.default_scope)
    cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def _training_step(model: nn.Module, device: torch.device) -> Callable[[], Any]:
    from mmpretrain.structures import DataSample

    if device.type == 'cpu':
        use_channels_last(model)
    model.train()
    layout = torch.channels_last if device.type == 'cpu' else torch.contiguous_format
    shape = (_TRAINING_BATCH, 3, _SIZE, _SIZE)
    images = torch.randn(shape, device=device).contiguous(memory_format=layout)
    samples = [DataSample().set_gt_label(i % 10).to(device) for i in range(_TRAINING_BATCH)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            losses = model(images, samples, mode='loss')
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        optimizer.step()

    return step


def _inference(model: nn.Module, device: torch.device) -> Callable[[], Any]:
    images = torch.randn(_BATCH, 3, _SIZE, _SIZE, device=device)

    def call() -> None:
        with torch.inference_mode():
            model(images)

    return call
