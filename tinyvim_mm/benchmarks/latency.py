"""Latency of backbones in all their forms, in one run."""

import argparse
import copy
import importlib.metadata
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ..commands.options import count
from ..measuring.statistics import randomise_statistics
from ..measuring.timing import compile_whole, provenance, time_in_turns
from ..ops import describe_choice

#: Forms in the order of the table; ratios are to ``'deployed'``.
FORMS = (
    'training',
    'deployed',
    'deployed, channels-last',
    'compiled',
    'onnxruntime',
    'onnxruntime, no scan',
)
#: Relative error above which a form is reported and not timed.
ERROR_LIMIT = 1e-4

Run = Callable[[], Any]


def forms(
    name: str, size: Tuple[int, int], wanted: Sequence[str], folder: Path
) -> Dict[str, Tuple[Run, Optional[float]]]:
    """Functions that run a backbone, and each one's error against the form that trains.

    Args:
        name: Of :func:`tinyvim_mm.models.catalogue.network_names`.
        size: Height and width of the image.
        wanted: Of :data:`FORMS`.
        folder: For the exported files.

    Returns:
        By name. The error is ``None`` for the form without a scan, which computes
        something else.
    """
    from ..models import reparameterize
    from ..models.catalogue import build_network

    torch.manual_seed(0)
    model = randomise_statistics(build_network(name)).eval()
    image = torch.rand(1, 3, *size)
    deployed = reparameterize(model)
    with torch.no_grad():
        truth = model(image)

    def eager(network: nn.Module, x: Tensor = image) -> Run:
        def run() -> Sequence[Tensor]:
            with torch.no_grad():
                return network(x)

        return run

    def channels_last() -> Run:
        network = copy.deepcopy(deployed).to(memory_format=torch.channels_last)
        return eager(network, image.to(memory_format=torch.channels_last))

    makers: Dict[str, Callable[[], Run]] = {
        'training': lambda: eager(model),
        'deployed': lambda: eager(deployed),
        'deployed, channels-last': channels_last,
        'compiled': lambda: eager(compile_whole(copy.deepcopy(deployed))),
        'onnxruntime': lambda: _onnxruntime(deployed, image, folder / 'a.onnx', False),
        'onnxruntime, no scan': lambda: _onnxruntime(deployed, image, folder / 'b.onnx', True),
    }
    result = {}
    for form in FORMS:
        if form in wanted:
            run = makers[form]()
            result[form] = (run, None if 'no scan' in form else _error(run(), truth))
    return result


def _onnxruntime(model: nn.Module, image: Tensor, path: Path, leave_out_scan: bool) -> Run:
    from ..export.check import load_runner
    from ..export.networks import ExportedNetwork
    from ..export.writer import write_onnx

    network = ExportedNetwork(copy.deepcopy(model), 'backbone', 'features').eval()
    write_onnx(network, image, path, leave_out_scan=leave_out_scan)
    run = load_runner(path)
    return lambda: run(image.numpy())


def _error(outputs: Sequence[Any], truth: Sequence[Tensor]) -> float:
    from ..export.check import relative_error

    pairs = zip((torch.as_tensor(output) for output in outputs), truth, strict=True)
    return max(relative_error(a.numpy(), b.numpy()) for a, b in pairs)


def measure(name: str, size: Tuple[int, int], wanted: Sequence[str], rounds: int) -> Dict[str, Any]:
    """Verify and time one backbone at one size."""
    with tempfile.TemporaryDirectory() as folder:
        found = forms(name, size, wanted, Path(folder))
        correct = {
            form: run for form, (run, error) in found.items() if (error or 0.0) <= ERROR_LIMIT
        }
        # Long turns: the waiting threads of one library spin into the start of the next's.
        times = time_in_turns(correct, torch.device('cpu'), rounds, 0.5)
    return {
        'name': name,
        'size': size,
        'results': {
            form: {'error': error, **(asdict(times[form]) if form in times else {})}
            for form, (_, error) in found.items()
        },
    }


def table(rows: Sequence[Dict[str, Any]]) -> str:
    """Milliseconds of each form, and how many times faster than the deployed one it is."""
    lines = []
    for row in rows:
        lines.append(f'{row["name"]} at {row["size"][0]}x{row["size"][1]}')
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


def markdown(rows: Sequence[Dict[str, Any]], facts: Dict[str, Any]) -> str:
    """The table as a page, with what it was measured on."""
    names = [name for name in FORMS if any(name in row['results'] for row in rows)]
    lines = [
        '# Latency of backbones',
        '',
        'Milliseconds for one image, median of the rounds, and in brackets how many times as fast '
        'as `deployed`. Every form but the one without the scan was compared with the form that '
        f'trains, to a relative error below {ERROR_LIMIT:g}.',
        '',
        '| | ' + ' | '.join(names) + ' |',
        '|---' * (len(names) + 1) + '|',
    ]
    for row in rows:
        reference = row['results'].get('deployed', {}).get('median')
        cells = [_cell(row['results'].get(name, {}), reference) for name in names]
        title = f'{row["name"]}, {row["size"][0]}x{row["size"][1]}'
        lines.append(f'| {title} | ' + ' | '.join(cells) + ' |')
    lines += ['', *(f'- {name}: {value}' for name, value in facts.items()), '']
    return '\n'.join(lines)


def _cell(found: Dict[str, Any], reference: Optional[float]) -> str:
    if 'median' not in found:
        return 'not timed'
    ratio = f' ({reference / found["median"]:.2f})' if reference else ''
    return f'{found["median"] * 1e3:.1f} ± {found["spread"] * 1e3:.1f}{ratio}'


def _sizes(text: str) -> Tuple[int, int]:
    height, _, width = text.partition('x')
    return int(height), int(width or height)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/benchmark_latency.py``."""
    from ..models.catalogue import network_names

    parser = argparse.ArgumentParser(
        prog='tools/benchmark_latency.py',
        description='Verify, then time, backbones on a CPU: the form that trains, '
        're-parameterised, compiled, and in ONNX Runtime. Ratios are to the deployed form.',
    )
    parser.add_argument(
        '--models',
        nargs='+',
        default=['tinyvim_s', 'tinyvim_b', 'tinyvim_l'],
        choices=network_names(),
        metavar='MODEL',
        help=f'of {", ".join(network_names())}',
    )
    parser.add_argument('--sizes', nargs='+', type=_sizes, default=[(224, 224), (800, 1344)])
    parser.add_argument('--forms', nargs='+', default=list(FORMS), choices=FORMS)
    parser.add_argument('--rounds', type=count, default=15, help='turns of each form')
    parser.add_argument('--threads', type=count, help='CPU threads')
    parser.add_argument('--out', default='work_dirs/benchmark_latency', help='folder for results')
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    rows: List[Dict[str, Any]] = []
    for name in args.models:
        for size in args.sizes:
            print(f'{name} at {size[0]}x{size[1]} ...', flush=True)
            rows.append(measure(name, size, args.forms, args.rounds))
    facts = provenance(torch.device('cpu'))
    if any('onnxruntime' in form for form in args.forms):
        facts['onnxruntime'] = importlib.metadata.version('onnxruntime')
    facts['scan'] = describe_choice(torch.zeros(1))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    report = {'provenance': facts, 'rows': rows}
    (out / 'latency.json').write_text(json.dumps(report, indent=1) + '\n')
    (out / 'latency.md').write_text(markdown(rows, facts))
    print('\n' + table(rows) + f'\n\n{out / "latency.md"}, {out / "latency.json"}')
