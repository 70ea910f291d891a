"""The scan against its rivals, at the shapes that vision models have.

Every contender is verified against the sequential reference in float64 before
it is timed; one that errs is reported and left out.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..commands.options import count
from ..measuring.timing import provenance, time_in_turns
from ..ops import (
    BIDIRECTIONAL,
    CROSS_SCAN,
    SKIP_SCAN,
    available_backends,
    scan_skipping,
    selective_scan,
    ss2d,
)
from ..ops.scan_paths import ScanPath, cross_merge, cross_scan

#: Relative L2 error above which a contender is not timed.
ERROR_LIMIT = 1e-5
#: The contender that stands for how vision models usually do it.
USUAL = 'usual'


@dataclass(frozen=True)
class Case:
    """One shape: ``batch`` maps of ``d`` channels and ``height * width`` positions.

    With ``skips`` each path scans a grid of its own, as in EfficientVMamba.
    """

    name: str
    d: int
    dt_rank: int
    d_state: int
    height: int
    width: int
    paths: Tuple[ScanPath, ...] = CROSS_SCAN
    batch: int = 1
    skips: bool = False

    def scan(self, operator: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
        """What the case asks for, computed by an operator with the arguments of ``ss2d``."""
        if self.skips:
            return scan_skipping(operator, *arguments, self.paths)
        return operator(*arguments, self.paths)

    def arguments(self, device: torch.device) -> List[Tensor]:
        """Arguments of ``ss2d`` with trained-looking values."""
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        K, d, R, N = len(self.paths), self.d, self.dt_rank, self.d_state
        states = torch.arange(1.0, N + 1).log()
        tensors = [
            normal(self.batch, d, self.height, self.width),
            normal(K, R + 2 * N, d) / d**0.5,
            normal(K, d, R) / R**0.5,
            normal(K, d) - 3,
            states + 0.1 * normal(K * d, N),
            1 + 0.1 * normal(K * d),
        ]
        tensors[0] = tensors[0].to(memory_format=torch.channels_last)
        return [tensor.to(device).requires_grad_() for tensor in tensors]

    @property
    def exponentials(self) -> int:
        """Of one forward pass: one per image, position that a path reads, channel and state."""
        readings = 1 if self.skips else len(self.paths)
        positions = self.batch * readings * self.height * self.width
        return positions * self.d * self.d_state


def _tinyvim_b(batch: int) -> List[Case]:
    # d and dt_rank of the five mixers' four kinds; the grid is always stride 32.
    stages = ((12, 3), (48, 6), (96, 12), (288, 24))
    return [
        Case(f'TinyViM-B stage {i + 1}, {size}', d, R, 8, *grid, batch=batch)
        for size, grid in (('224x224', (7, 7)), ('800x1344', (25, 42)))
        for i, (d, R) in enumerate(stages)
    ]


def cases(batch: int) -> List[Case]:
    """All shapes: TinyViM-B, and the first stages of the other networks."""
    return [
        *_tinyvim_b(batch),
        Case('VMamba-T stage 1, N = 1', 96, 6, 1, 56, 56, batch=batch),
        Case('VMamba-T stage 1, N = 16', 192, 6, 16, 56, 56, batch=batch),
        Case('MobileMamba-S6 stage 1, 224x224', 320, 10, 1, 14, 14, BIDIRECTIONAL, batch=batch),
        Case('MobileMamba-B1 stage 1, 800x1344', 320, 10, 1, 50, 84, BIDIRECTIONAL, batch=batch),
        Case('EfficientVMamba-T stage 1', 96, 3, 16, 56, 56, SKIP_SCAN, batch=batch, skips=True),
    ]


def usual_ss2d(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    paths: Sequence[ScanPath],
    scan_backend: str,
) -> Tensor:
    """SS2D as vision models usually write it: all directions copied, projected, scanned."""
    K, d, R = dt_projs_weight.shape
    N = A_logs.shape[1]
    height, width = x.shape[-2:]
    xs = cross_scan(x.unsqueeze(1), paths)
    projected = torch.einsum('bkdl,kcd->bkcl', xs, x_proj_weight)
    dt_low, B, C = projected.split([R, N, N], dim=2)
    delta = torch.einsum('bkrl,kdr->bkdl', dt_low, dt_projs_weight)
    y = selective_scan(
        xs.flatten(1, 2),
        delta.flatten(1, 2),
        -A_logs.exp(),
        B.contiguous(),
        C.contiguous(),
        Ds,
        delta_bias=dt_projs_bias.flatten(),
        delta_softplus=True,
        backend=scan_backend,
    )
    return cross_merge(y.unflatten(1, (K, d)), height, width, paths)


def contenders(
    case: Case, device: torch.device, wanted: Optional[Sequence[str]] = None
) -> Tuple[Dict[str, Callable[..., Tensor]], Dict[str, str]]:
    """Functions of the ``ss2d`` arguments, and why others are absent.

    Args:
        case: Its paths are bound to the functions.
        device: Where they will run.
        wanted: Names to keep; ``None`` keeps all.
    """
    functions: Dict[str, Callable[..., Tensor]] = {}
    absent: Dict[str, str] = {}
    for name, obstacle in available_backends(device.type).items():
        if name.startswith('exportable'):  # made for other runtimes
            continue
        if obstacle is not None:
            absent[name] = str(obstacle)
            continue
        functions[name] = partial(case.scan, partial(ss2d, backend=name))
    strongest = 'mamba_ssm' if 'mamba_ssm' in functions else 'parallel'
    functions[f'{USUAL} ({strongest} scan)'] = partial(
        case.scan, partial(usual_ss2d, scan_backend=strongest)
    )
    if wanted is not None:
        functions = {n: f for n, f in functions.items() if n.split()[0] in wanted}
    return functions, absent


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
    return max(
        ((actual.double() - wanted).norm() / wanted.norm()).item() for actual, wanted in pairs
    )


def run_case(
    case: Case, device: torch.device, rounds: int, wanted: Optional[Sequence[str]]
) -> Dict[str, Any]:
    """Verify and time all contenders on one shape.

    Returns:
        Per contender: error, and seconds (median, spread) of ``forward`` and
        ``training`` (forward and backward).
    """
    functions, absent = contenders(case, device, wanted)
    errors = {name: largest_error(function, case, device) for name, function in functions.items()}
    correct = {name: f for name, f in functions.items() if errors[name] <= ERROR_LIMIT}
    arguments = case.arguments(device)
    frozen = [argument.detach() for argument in arguments]
    cotangent = torch.randn_like(case.arguments(device)[0])

    def train(function: Callable[..., Tensor]) -> None:
        torch.autograd.grad(function(*arguments), arguments, cotangent)

    forward = time_in_turns({n: lambda f=f: f(*frozen) for n, f in correct.items()}, device, rounds)
    training = time_in_turns({n: lambda f=f: train(f) for n, f in correct.items()}, device, rounds)
    return {
        'case': case.name,
        'shape': {k: v for k, v in asdict(case).items() if k not in ('name', 'paths')},
        'paths': len(case.paths),
        'absent': absent,
        'results': {
            name: {
                'error': errors[name],
                'forward': asdict(forward[name]) if name in correct else None,
                'training': asdict(training[name]) if name in correct else None,
            }
            for name in functions
        },
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
    from ..models import TinyViM
    from ..models.layers import SS2D

    torch.manual_seed(0)
    layout = torch.channels_last
    scanning = TinyViM('b').eval().to(device, memory_format=layout)
    identity = TinyViM('b').eval().to(device, memory_format=layout)
    for module in identity.modules():
        for name, child in module.named_children():
            if isinstance(child, SS2D):
                setattr(module, name, torch.nn.Identity())
    x = torch.rand(1, 3, 800, 1344, device=device).to(memory_format=layout)
    with torch.no_grad():
        times = time_in_turns(
            {'scan': lambda: scanning(x), 'identity': lambda: identity(x)}, device, rounds, 0.0
        )
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
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    rows = [row for row in report['cases'] if 'reference' in row['results']]
    names = [n for n in rows[0]['results'] if n != 'reference'] if rows else []
    figure, axis = plt.subplots(figsize=(11, 0.45 * len(rows) * max(len(names), 1) ** 0.6 + 2))
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
    axis.axvline(1, color='grey', linewidth=0.8)
    axis.set_xlabel('times faster than the sequential reference, forward and backward')
    facts = report['provenance']
    axis.set_title(
        f'SS2D on {facts["device"]}, {facts["threads"]} threads, torch {facts["torch"]}',
        fontsize=10,
    )
    axis.invert_yaxis()
    axis.legend(loc='lower right', fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/benchmark_scan.py``."""
    parser = argparse.ArgumentParser(
        prog='tools/benchmark_scan.py',
        description='Verify, then time, every scan backend that runs here.',
    )
    default = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', default=default, help=f'default here: {default}')
    parser.add_argument('--batch', type=count, default=1, help='images in a batch')
    parser.add_argument('--rounds', type=count, default=9, help='turns of each contender')
    parser.add_argument('--filter', default='', help='only shapes whose name contains this')
    parser.add_argument('--backends', nargs='+', help=f'only these; "{USUAL}" is one of them')
    parser.add_argument('--no-backbone', action='store_true', help='leave out the whole backbone')
    parser.add_argument('--threads', type=count, help='CPU threads')
    parser.add_argument('--out', default='work_dirs/benchmark_scan', help='folder for the results')
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    chosen = [case for case in cases(args.batch) if args.filter in case.name]
    if not chosen:
        parser.error(f'no shape has {args.filter!r} in its name')

    report: Dict[str, Any] = {'provenance': provenance(device), 'cases': []}
    for i, case in enumerate(chosen):
        print(f'[{i + 1}/{len(chosen)}] {case.name}', flush=True)
        row = run_case(case, device, args.rounds, args.backends)
        row['floor'] = exponential_floor(case, device)
        report['cases'].append(row)
    if not args.no_backbone:
        print('TinyViM-B at 800x1344', flush=True)
        report['backbone'] = time_backbone(device, max(3, args.rounds // 2))

    for name, obstacle in report['cases'][0]['absent'].items():
        print(f'not here: {name}: {obstacle}')
    print('\nforward\n' + table(report['cases'], 'forward'))
    print('\nforward and backward\n' + table(report['cases'], 'training'))
    if 'backbone' in report:
        scan, identity = (report['backbone'][name]['median'] for name in ('scan', 'identity'))
        print(
            f'\nTinyViM-B at 800x1344: {scan * 1e3:.0f} ms, with identities for the scans '
            f'{identity * 1e3:.0f} ms: {scan / identity:.3f}x'
        )
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / 'scan.json').write_text(json.dumps(report, indent=1) + '\n')
    plot(report, out / 'scan.png')
    print(f'\n{out / "scan.json"}\n{out / "scan.png"}')
