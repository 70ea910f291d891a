"""The scan against its rivals, at the shapes that vision models have.

Every contender is verified against the sequential reference in float64 before
it is timed; one that errs is reported and left out.
"""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Union

import torch
from torch import Tensor

from ..core.errors import UsageError
from ..export.scan import exportable_scan
from ..measuring.timing import provenance, time_in_turns
from ..models import TinyViM
from ..ops import ss2d
from .contenders import Case, cases, contenders

#: Relative L2 error above which a contender is not timed.
ERROR_LIMIT = 1e-5


def time_scan(
    out: Union[str, Path] = 'work_dirs/benchmark_scan',
    *,
    device: Optional[str] = None,
    batch: int = 1,
    rounds: int = 9,
    filter: str = '',
    backends: Optional[Sequence[str]] = None,
    backbone: bool = True,
    threads: Optional[int] = None,
    command: Optional[str] = None,
) -> Dict[str, Any]:
    """Verify, then time, every scan backend that runs here.

    Args:
        out: Folder for ``scan.json`` and ``scan.png``.
        device: ``'cpu'`` or ``'cuda'``; ``None`` takes CUDA where it is there.
        batch: Images in a batch.
        rounds: Turns of each contender.
        filter: Only shapes whose name contains this.
        backends: Only these; :data:`~.contenders.USUAL` is one of them.
        backbone: Time a whole backbone, too, and the same one without its scans.
        threads: Of the CPU; ``None`` leaves the choice to torch.
        command: How the user called this, for the results.

    Returns:
        What ``scan.json`` holds; times are in seconds.

    Raises:
        UsageError: No shape has ``filter`` in its name.

    Example:
        >>> from tinyvim_mm.benchmarks import time_scan
        >>> time_scan(filter='TinyViM', backbone=False)  # doctest: +SKIP
    """
    if threads:
        torch.set_num_threads(threads)
    place = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    chosen = [case for case in cases(batch) if filter in case.name]
    if not chosen:
        raise UsageError(f'no shape has {filter!r} in its name')

    report: Dict[str, Any] = {'provenance': provenance(place, command), 'cases': []}
    for i, case in enumerate(chosen):
        print(f'[{i + 1}/{len(chosen)}] {case.name}', flush=True)
        row = run_case(case, place, rounds, backends)
        row['floor'] = exponential_floor(case, place)
        report['cases'].append(row)
    if backbone:
        print('TinyViM-B at 800x1344', flush=True)
        report['backbone'] = time_backbone(place, max(3, rounds // 2))

    for name, obstacle in report['cases'][0]['absent'].items():
        print(f'not here: {name}: {obstacle}')
    print('\nforward\n' + table(report['cases'], 'forward'))
    print('\nforward and backward\n' + table(report['cases'], 'training'))
    if backbone:
        scan, identity = (report['backbone'][name]['median'] for name in ('scan', 'identity'))
        print(
            f'\nTinyViM-B at 800x1344: {scan * 1e3:.0f} ms, with identities for the scans '
            f'{identity * 1e3:.0f} ms: {scan / identity:.3f}x'
        )
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / 'scan.json').write_text(json.dumps(report, indent=1) + '\n')
    plot(report, out / 'scan.png')
    print(f'\n{out / "scan.json"}\n{out / "scan.png"}')
    return report


def largest_error(function: Callable[..., Tensor], case: Case, device: torch.device) -> float:
    """Largest relative L2 error of result and gradients against float64."""
    arguments = case.arguments(device)
    y = function(*arguments)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(device)
    y.backward(cotangent)
    truth = [argument.detach().double().requires_grad_() for argument in arguments]
    expected = case.scan(partial(ss2d, backend='reference'), *truth)
    expected.backward(cotangent.double())
    pairs = [(y, expected), *((a.grad, t.grad) for a, t in zip(arguments, truth, strict=True))]
    return max(((found.double() - true).norm() / true.norm()).item() for found, true in pairs)


def run_case(
    case: Case, device: torch.device, rounds: int, wanted: Optional[Sequence[str]]
) -> Dict[str, Any]:
    """Errors of all contenders on one shape, and seconds without and with the backward pass."""
    functions, absent = contenders(case, device, wanted)
    errors = {name: largest_error(function, case, device) for name, function in functions.items()}
    correct = {name: f for name, f in functions.items() if errors[name] <= ERROR_LIMIT}
    arguments = case.arguments(device)
    frozen = [argument.detach() for argument in arguments]
    cotangent = torch.randn_like(case.arguments(device)[0])

    def train(function: Callable[..., Tensor]) -> None:
        torch.autograd.grad(function(*arguments), arguments, cotangent)

    forward = time_in_turns({n: lambda f=f: f(*frozen) for n, f in correct.items()}, device, rounds)
    training = time_in_turns({n: partial(train, f) for n, f in correct.items()}, device, rounds)
    results = {}
    for name in functions:
        results[name] = {'error': errors[name], 'forward': None, 'training': None}
        if name in correct:
            results[name].update(forward=asdict(forward[name]), training=asdict(training[name]))
    return {
        'case': case.name,
        'shape': {k: v for k, v in asdict(case).items() if k not in ('name', 'paths')},
        'paths': len(case.paths),
        'absent': absent,
        'results': results,
    }


def exponential_floor(case: Case, device: torch.device) -> Optional[float]:
    """Seconds that a GPU needs for a forward pass's exponentials alone, 16 per clock and SM."""
    if device.type != 'cuda':
        return None
    properties = torch.cuda.get_device_properties(device)
    clock = getattr(properties, 'clock_rate', None)  # kHz
    if clock is None:
        return None
    return case.exponentials / (16 * properties.multi_processor_count * clock * 1e3)


def time_backbone(device: torch.device, rounds: int) -> Dict[str, Any]:
    """TinyViM-B at 800x1344 against itself with every scan replaced by the identity."""
    torch.manual_seed(0)
    layout = torch.channels_last
    scanning = TinyViM('b').eval().to(device, memory_format=layout)
    identity = TinyViM('b').eval().to(device, memory_format=layout)
    x = torch.rand(1, 3, 800, 1344, device=device).to(memory_format=layout)
    forms = {'scan': lambda: scanning(x), 'identity': lambda: identity(x)}
    with torch.no_grad(), exportable_scan(identity, leave_out=True):
        times = time_in_turns(forms, device, rounds, 0.0)
    return {name: asdict(timing) for name, timing in times.items()}


def table(rows: List[Dict[str, Any]], what: str) -> str:
    """Milliseconds, and how many times faster than the sequential reference, per contender."""
    lines = []
    for row in rows:
        lines.append(row['case'])
        timed = {n: r[what]['median'] for n, r in row['results'].items() if r[what]}
        reference = timed.get('reference')
        for name, result in row['results'].items():
            if name not in timed:
                lines.append(f'  {name:<24} NOT TIMED: relative error {result["error"]:.1e}')
                continue
            ratio = f'{reference / timed[name]:8.1f}x' if reference else ''
            lines.append(
                f'  {name:<24} {timed[name] * 1e3:10.3f} ms '
                f'+- {result[what]["spread"] * 1e3:.3f} {ratio}  error {result["error"]:.0e}'
            )
        if row.get('floor') and what == 'forward':
            lines.append(f'  {"exponentials alone":<24} {row["floor"] * 1e3:10.3f} ms')
    return '\n'.join(lines)


def plot(report: Dict[str, Any], path: Path) -> None:
    """Bars: times faster than the sequential reference, forward and backward."""
    from ..visualization.figure import new_figure, save_figure  # loads matplotlib

    rows = [row for row in report['cases'] if 'reference' in row['results']]
    names = [n for n in rows[0]['results'] if n != 'reference'] if rows else []
    facts = report['provenance']
    figure = new_figure(
        (11, 0.45 * len(rows) * max(len(names), 1) ** 0.6 + 2),
        f'SS2D on {facts["device"]}, {facts["threads"]} threads, torch {facts["torch"]}',
    )
    axis = figure.subplots()
    height = 0.8 / max(len(names), 1)
    for j, name in enumerate(names):
        ratios = []
        for row in rows:
            mine = row['results'].get(name, {}).get('training')
            reference = row['results']['reference']['training']
            ratios.append(reference['median'] / mine['median'] if mine and reference else 0)
        axis.barh([i + j * height for i in range(len(rows))], ratios, height, label=name)
    axis.set_yticks([i + 0.4 for i in range(len(rows))], [row['case'] for row in rows])
    axis.set_xscale('log')
    axis.axvline(1, color='gray', linewidth=0.8)
    axis.set_xlabel('times faster than the sequential reference, forward and backward')
    axis.invert_yaxis()
    axis.legend(loc='lower right', fontsize=8)
    save_figure(figure, path)
