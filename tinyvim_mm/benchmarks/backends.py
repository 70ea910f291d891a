"""Whole TinyViM backbones with each implementation of the scan, and without any."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from ..core import tables
from ..core.devices import find_device
from ..core.errors import UsageError
from ..measuring.timing import provenance, time_in_turns
from ..models import TinyViM
from ..models.layers import SS2D
from ..ops import available_backends

#: Stands for identities in place of the scans: no scan can be faster.
NO_SCAN = 'no scan'
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}
#: Largest relative L2 difference of a feature map to that of the first implementation.
LIMITS = {'fp32': 1e-3, 'bf16': 5e-2}


def time_backends(
    archs: Sequence[str] = ('s', 'b', 'l'),
    size: Tuple[int, int] = (224, 224),
    batch: int = 1,
    out: Union[str, Path] = 'work_dirs/benchmark_backends',
    *,
    device: Optional[str] = None,
    precision: str = 'fp32',
    backends: Optional[Sequence[str]] = None,
    train: bool = False,
    rounds: int = 9,
    threads: Optional[int] = None,
    command: Optional[str] = None,
) -> Dict[str, Any]:
    """Time backbones with every scan backend that runs here, in turns, and without a scan.

    What gives other feature maps than the first backend is named and not timed.

    Args:
        archs: Of TinyViM.
        size: Height and width of the images.
        batch: Images at a time.
        out: Folder for ``backends.json`` and ``backends.md``.
        device: ``'cpu'`` or ``'cuda'``; ``None`` takes CUDA where it is there.
        precision: Of inference, weights and images: ``'fp32'`` or ``'bf16'``. Training has
            float32 weights, and with ``'bf16'`` autocast.
        backends: Only these.
        train: Time steps of training: loss, gradients, AdamW.
        rounds: Turns of each contender.
        threads: Of the CPU; ``None`` leaves the choice to torch.
        command: How the user called this, for the results.

    Returns:
        What ``backends.json`` holds; times are in seconds a call.

    Raises:
        UsageError: No backend is left.
        MachineError: The device is not there.

    Example:
        >>> from tinyvim_mm.benchmarks import time_backends
        >>> time_backends(['s'], size=(64, 64))  # doctest: +SKIP
    """
    place = torch.device(find_device(device))
    if threads:
        torch.set_num_threads(threads)
    usable = [name for name, obstacle in available_backends(place).items() if not obstacle]
    chosen = [name for name in usable if backends is None or name in backends]
    if not chosen:
        raise UsageError(f'--backends: none of these runs here; on {place.type} run {usable}')
    rows = []
    for arch in archs:
        print(f'TinyViM-{arch.upper()} ...', flush=True)
        torch.manual_seed(0)
        images = torch.rand(batch, 3, *size, device=place)
        rows.append(_measure(arch, images, chosen, precision, train, rounds))
    facts = provenance(place, command)
    facts.update(size=list(size), batch=batch, precision=precision, training=train)
    report = {'provenance': facts, 'rows': rows}
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / 'backends.json').write_text(json.dumps(report, indent=1) + '\n')
    page = _markdown(report, chosen)
    (out / 'backends.md').write_text(page)
    print(f'\n{page}\n{out / "backends.md"}, {out / "backends.json"}')
    return report


def _measure(
    arch: str, images: Tensor, backends: Sequence[str], precision: str, train: bool, rounds: int
) -> Dict[str, Any]:
    calls: Dict[str, Callable[[], Any]] = {}
    refused: Dict[str, str] = {}
    make = _training_step if train else _inference
    truth: Optional[Tensor] = None
    state = TinyViM(arch, normalize_outputs=False).state_dict()
    for name in (*backends, NO_SCAN):
        model = TinyViM(
            arch, normalize_outputs=False, ssm_backend=None if name == NO_SCAN else name
        )
        model.load_state_dict(state)
        model.to(images.device)
        if name == NO_SCAN:
            _leave_scans_out(model)
        else:
            with torch.no_grad(), _autocast(images, precision):
                found = model.eval()(images)[-1].float()
            truth = found if truth is None else truth
            error = float((found - truth).norm() / truth.norm())
            if not error <= LIMITS[precision]:
                refused[name] = f'its feature maps differ by {error:.1e}'
                continue
        calls[name] = make(model, images, precision)
    times = time_in_turns(calls, images.device, rounds)
    return {
        'arch': arch,
        'results': {name: asdict(timing) for name, timing in times.items()},
        'refused': refused,
    }


def _leave_scans_out(model: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, SS2D):
                setattr(parent, name, nn.Identity())


def _autocast(images: Tensor, precision: str) -> torch.autocast:
    return torch.autocast(images.device.type, torch.bfloat16, enabled=precision == 'bf16')


def _inference(model: nn.Module, images: Tensor, precision: str) -> Callable[[], Any]:
    dtype = DTYPES[precision]
    model = model.eval().to(dtype=dtype, memory_format=torch.channels_last)
    images = images.to(dtype=dtype, memory_format=torch.channels_last)

    def call() -> None:
        with torch.inference_mode():
            model(images)

    return call


def _training_step(model: nn.Module, images: Tensor, precision: str) -> Callable[[], Any]:
    model.train()
    head = nn.Linear(model.embed_dims[-1], 1000).to(images.device)
    labels = torch.arange(len(images), device=images.device) % 1000
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-4)

    def step() -> None:
        with _autocast(images, precision):
            scores = head(model(images)[-1].mean((2, 3)))
        optimizer.zero_grad()
        nn.functional.cross_entropy(scores.float(), labels).backward()
        optimizer.step()

    return step


def _markdown(report: Dict[str, Any], backends: Sequence[str]) -> str:
    facts = report['provenance']
    body: List[List[str]] = []
    notes: List[str] = []
    for row in report['rows']:
        cells = [f'TinyViM-{row["arch"].upper()}']
        for name in (*backends, NO_SCAN):
            time = row['results'].get(name)
            cells.append(f'{1e3 * time["median"]:.1f} ± {1e3 * time["spread"]:.1f}' if time else '')
        notes += [f'- {cells[0]}, {name}: {why}' for name, why in row['refused'].items()]
        body.append(cells)
    what = 'steps of training' if facts['training'] else 'inference'
    intro = (
        f'Milliseconds of {what}, median of the rounds ± distance between the quartiles; with '
        'identities in place of the scans it is no TinyViM, but the limit of any scan.'
    )
    lines = ['# Backbones by implementation of the scan', '', intro, '']
    lines += tables.markdown(['', *backends, NO_SCAN], body)
    return '\n'.join([*lines, '', *notes, *(f'- {k}: {v}' for k, v in facts.items()), ''])
