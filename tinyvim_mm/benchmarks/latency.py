"""Latency of the backbone in all its forms, in one run."""

import argparse
import copy
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ..ops import describe_choice
from .timing import provenance, time_in_turns

#: Forms in the order of the table; ratios are to the one before the arrow.
FORMS = ('training', 'deployed', 'compiled', 'onnxruntime', 'onnxruntime, no scan')
#: Relative error above which a form is reported and not timed.
ERROR_LIMIT = 1e-4

Run = Callable[[], Any]


def forms(
    arch: str, size: Tuple[int, int], wanted: Sequence[str], folder: Path, channels_last: bool
) -> Dict[str, Tuple[Run, Optional[float]]]:
    """Functions that run a backbone, and each one's error against the form that trains.

    Args:
        arch: ``'s'``, ``'b'`` or ``'l'``.
        size: Height and width of the image.
        wanted: Of :data:`FORMS`.
        folder: For the exported files.
        channels_last: Whether PyTorch's forms run in that memory format.

    Returns:
        By name. The error is ``None`` for the form without a scan, which computes
        something else.
    """
    from ..models import TinyViM, reparameterize

    torch.manual_seed(0)
    model = _with_statistics(TinyViM(arch)).eval()
    image = torch.rand(1, 3, *size)
    deployed = reparameterize(model)
    if channels_last:
        model, deployed = (m.to(memory_format=torch.channels_last) for m in (model, deployed))
    x = image.to(memory_format=torch.channels_last) if channels_last else image
    with torch.no_grad():
        truth = model(x)

    def eager(network: nn.Module) -> Run:
        def run() -> Sequence[Tensor]:
            with torch.no_grad():
                return network(x)

        return run

    runs: Dict[str, Run] = {'training': eager(model), 'deployed': eager(deployed)}
    if 'compiled' in wanted:
        runs['compiled'] = eager(torch.compile(copy.deepcopy(deployed)))
    for name in FORMS[3:]:
        if name in wanted:
            runs[name] = _onnxruntime(deployed, image, folder / f'{arch}.onnx', name != FORMS[3])
    result = {}
    for name in FORMS:
        if name in wanted:
            error = None if name == FORMS[4] else _error(runs[name](), truth)
            result[name] = (runs[name], error)
    return result


def _with_statistics(model: nn.Module) -> nn.Module:
    # Fresh batch norms are identities, whose folding would prove nothing.
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


def _onnxruntime(model: nn.Module, image: Tensor, path: Path, leave_out_scan: bool) -> Run:
    from ..export.networks import ExportedNetwork
    from ..export.tool import load_runner
    from ..export.writer import write_onnx

    network = ExportedNetwork(copy.deepcopy(model), 'backbone', 'features').eval()
    write_onnx(network, image, path, leave_out_scan=leave_out_scan)
    run = load_runner(path)
    return lambda: run(image.numpy())


def _error(outputs: Sequence[Any], truth: Sequence[Tensor]) -> float:
    from ..export.check import relative_error

    pairs = zip((torch.as_tensor(output) for output in outputs), truth, strict=True)
    return max(relative_error(a.numpy(), b.numpy()) for a, b in pairs)


def measure(
    arch: str, size: Tuple[int, int], wanted: Sequence[str], rounds: int, channels_last: bool
) -> Dict[str, Any]:
    """Verify and time one backbone at one size."""
    with tempfile.TemporaryDirectory() as folder:
        found = forms(arch, size, wanted, Path(folder), channels_last)
        correct = {n: run for n, (run, error) in found.items() if (error or 0.0) <= ERROR_LIMIT}
        # Long turns: the waiting threads of one library spin into the start of the next's.
        times = time_in_turns(correct, torch.device('cpu'), rounds, 0.5)
    return {
        'arch': arch,
        'size': size,
        'results': {
            name: {'error': error, **(asdict(times[name]) if name in times else {})}
            for name, (_, error) in found.items()
        },
    }


def table(rows: Sequence[Dict[str, Any]]) -> str:
    """Milliseconds of each form, and how many times faster than the deployed one it is."""
    lines = []
    for row in rows:
        lines.append(f'TinyViM-{row["arch"].upper()} at {row["size"][0]}x{row["size"][1]}')
        deployed = row['results'].get('deployed', {}).get('median')
        for name, found in row['results'].items():
            if 'median' not in found:
                lines.append(f'  {name:<22} NOT TIMED: relative error {found["error"]:.1e}')
                continue
            ratio = f'{deployed / found["median"]:6.2f}x' if deployed else ''
            error = '' if found['error'] is None else f'  error {found["error"]:.0e}'
            lines.append(
                f'  {name:<22} {found["median"] * 1e3:9.2f} ms +- {found["spread"] * 1e3:.2f} '
                f'{ratio}{error}'
            )
    return '\n'.join(lines)


def _sizes(text: str) -> Tuple[int, int]:
    height, _, width = text.partition('x')
    return int(height), int(width or height)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/benchmark_latency.py``."""
    parser = argparse.ArgumentParser(
        prog='tools/benchmark_latency.py',
        description='Verify, then time, the backbone on a CPU: the form that trains, '
        're-parameterised, compiled, and in ONNX Runtime. Ratios are to the deployed form.',
    )
    parser.add_argument('--arch', nargs='+', default=['s', 'b', 'l'], choices=['s', 'b', 'l'])
    parser.add_argument('--sizes', nargs='+', type=_sizes, default=[(224, 224), (800, 1344)])
    parser.add_argument('--forms', nargs='+', default=list(FORMS), choices=FORMS)
    parser.add_argument('--rounds', type=int, default=15, help='turns of each form')
    parser.add_argument('--threads', type=int, help='CPU threads')
    parser.add_argument('--channels-last', action='store_true', help="for PyTorch's forms")
    parser.add_argument('--out', default='work_dirs/benchmark_latency', help='folder for results')
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    rows: List[Dict[str, Any]] = []
    for arch in args.arch:
        for size in args.sizes:
            print(f'TinyViM-{arch.upper()} at {size[0]}x{size[1]} ...', flush=True)
            rows.append(measure(arch, size, args.forms, args.rounds, args.channels_last))
    facts = provenance(torch.device('cpu'))
    facts['scan'] = describe_choice(torch.zeros(1))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    report = {'provenance': facts, 'channels_last': args.channels_last, 'rows': rows}
    (out / 'latency.json').write_text(json.dumps(report, indent=1) + '\n')
    print('\n' + table(rows) + f'\n\n{out / "latency.json"}')
