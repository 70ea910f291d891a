"""Speed of training on this machine: precision and layout of memory, in one run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ..core import tables
from ..measuring.timing import provenance, time_in_turns
from ..models.catalogue import build_network
from ..ops import describe_choice
from ..optim import CPUAmpOptimWrapper
from ..training.memory_format import use_channels_last
from . import TRAINING_FORMS

#: Largest relative difference of the first loss to that of the first form, by precision.
LIMITS = {'fp32': 1e-4, 'bf16': 3e-2}
CLASSES = 1000


class _Classifier(BaseModel):
    """A backbone with a linear classifier, as the optimizer wrappers see a toolbox's model."""

    def __init__(self, name: str) -> None:
        super().__init__(BaseDataPreprocessor())
        self.backbone = build_network(name, normalize_outputs=False)
        self.head = nn.Linear(self.backbone.embed_dims[-1], CLASSES)

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = 'loss') -> Dict[str, Tensor]:
        scores = self.head(self.backbone(inputs)[-1].mean((2, 3)))
        return {'loss': nn.functional.cross_entropy(scores, labels)}


def time_training(
    models: Sequence[str] = ('tinyvim_s', 'tinyvim_b'),
    size: int = 128,
    batch: int = 64,
    out: Union[str, Path] = 'work_dirs/benchmark_training',
    *,
    forms: Sequence[str] = TRAINING_FORMS,
    rounds: int = 9,
    threads: Optional[int] = None,
    command: Optional[str] = None,
) -> Dict[str, Any]:
    """Time whole steps of training on a CPU: loading to the layout, loss, gradients, AdamW.

    The forms take turns, so that their ratios hold on a busy machine; absolute figures want an
    idle one.

    Args:
        models: Of :func:`tinyvim_mm.models.catalogue.network_names`.
        size: Height and width of the images.
        batch: Images of a step.
        out: Folder for ``training.json`` and ``training.md``.
        forms: Of :data:`~tinyvim_mm.benchmarks.TRAINING_FORMS`.
        rounds: Turns of each form; each is one step or more.
        threads: Of the CPU; ``None`` leaves the choice to torch.
        command: How the user called this, for the results.

    Returns:
        What ``training.json`` holds; times are in seconds a step.

    Raises:
        ValueError: There is no such model.

    Example:
        >>> from tinyvim_mm.benchmarks import time_training
        >>> time_training(['tinyvim_s'], size=64, batch=8)  # doctest: +SKIP
    """
    if threads:
        torch.set_num_threads(threads)
    rows = []
    for name in models:
        print(f'{name}, {batch} images of {size}x{size} ...', flush=True)
        rows.append(_measure(name, size, batch, forms, rounds))
    facts = provenance(torch.device('cpu'), command)
    facts.update(size=size, batch=batch, scan=describe_choice(torch.zeros(1)))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    report = {'provenance': facts, 'rows': rows}
    (out / 'training.json').write_text(json.dumps(report, indent=1) + '\n')
    page = _markdown(rows, forms, facts)
    (out / 'training.md').write_text(page)
    print(f'\n{page}\n{out / "training.md"}, {out / "training.json"}')
    return report


def _measure(name: str, size: int, batch: int, forms: Sequence[str], rounds: int) -> Dict[str, Any]:
    torch.manual_seed(0)
    data = {'inputs': torch.randn(batch, 3, size, size), 'labels': torch.arange(batch) % CLASSES}
    steps, errors = {}, {}
    truth: Optional[float] = None
    for form in forms:
        step, first = _make_step(name, form, data)
        truth = first if truth is None else truth
        errors[form] = abs(first - truth) / abs(truth)
        if errors[form] <= LIMITS[form.rpartition(' ')[2]]:
            steps[form] = step
    times = time_in_turns(steps, torch.device('cpu'), rounds)
    results: Dict[str, Any] = {}
    for form in forms:
        results[form] = {'error': errors[form]}
        if form in times:
            results[form].update(asdict(times[form]), images=batch / times[form].median)
    return {'name': name, 'results': results}


def _make_step(name: str, form: str, data: Dict[str, Tensor]) -> Tuple[Callable[[], Any], float]:
    """A step of training, and the loss of the first one."""
    torch.manual_seed(0)
    model = _Classifier(name).train()
    if form.startswith('channels-last'):
        use_channels_last(model)
    kind = CPUAmpOptimWrapper if form.endswith('bf16') else OptimWrapper
    wrapper = kind(optimizer=torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05))

    def step() -> float:
        return model.train_step(data, wrapper)['loss'].item()

    return step, step()


def _markdown(rows: Sequence[Dict[str, Any]], forms: Sequence[str], facts: Dict[str, Any]) -> str:
    body: List[List[str]] = []
    for row in rows:
        base = row['results'][forms[0]].get('images')
        cells = []
        for form in forms:
            found = row['results'][form]
            if 'images' not in found:
                cells.append(f'not timed: the loss differs by {found["error"]:.1e}')
                continue
            ratio = f' ({found["images"] / base:.2f})' if base else ''
            cells.append(f'{found["images"]:.1f}{ratio}')
        body.append([row['name'], *cells])
    intro = (
        'Images a second of training on a CPU (images to the layout, loss, gradients, AdamW), '
        f'median of the rounds, and in brackets how many times as fast as `{forms[0]}`. The first '
        'loss of every form was compared with that of the first.'
    )
    head = ['# Speed of training', '', intro, '']
    measured = [f'- {name}: {value}' for name, value in facts.items()]
    return '\n'.join([*head, *tables.markdown(['', *forms], body), '', *measured, ''])
