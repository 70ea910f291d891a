"""Latency of backbones in all their forms, in one run."""

import copy
import importlib.metadata
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from ..core import tables
from ..export.check import load_runner, relative_error
from ..export.networks import ExportedNetwork
from ..export.writer import write_onnx
from ..measuring.statistics import randomize_statistics
from ..measuring.timing import compile_whole, provenance, time_in_turns
from ..models import reparameterize
from ..models.catalogue import build_network
from ..ops import describe_choice
from . import FORMS

#: Relative error above which a form is reported and not timed.
ERROR_LIMIT = 1e-4

Run = Callable[[], Any]


def time_latency(
    models: Sequence[str] = ('tinyvim_s', 'tinyvim_b', 'tinyvim_l'),
    sizes: Sequence[Tuple[int, int]] = ((224, 224), (800, 1344)),
    out: Union[str, Path] = 'work_dirs/benchmark_latency',
    *,
    forms: Sequence[str] = FORMS,
    rounds: int = 15,
    threads: Optional[int] = None,
    command: Optional[str] = None,
) -> Dict[str, Any]:
    """Verify, then time, backbones on a CPU in all their forms.

    Args:
        models: Of :func:`tinyvim_mm.models.catalogue.network_names`.
        sizes: Heights and widths of the image.
        out: Folder for ``latency.json`` and ``latency.md``.
        forms: Of :data:`~tinyvim_mm.benchmarks.FORMS`; ratios are to ``'deployed'``.
        rounds: Turns of each form.
        threads: Of the CPU; ``None`` leaves the choice to torch.
        command: How the user called this, for the results.

    Returns:
        What ``latency.json`` holds; times are in seconds.

    Raises:
        ValueError: There is no such model.
        MissingPackageError: A form needs a package that is missing.

    Example:
        >>> from tinyvim_mm.benchmarks import time_latency
        >>> time_latency(['tinyvim_s'], [(224, 224)])  # doctest: +SKIP
    """
    if threads:
        torch.set_num_threads(threads)
    rows = []
    for name in models:
        for size in sizes:
            print(f'{name} at {size[0]}x{size[1]} ...', flush=True)
            rows.append(measure(name, size, forms, rounds))
    facts = provenance(torch.device('cpu'), command)
    if any('onnxruntime' in form for form in forms):
        facts['onnxruntime'] = importlib.metadata.version('onnxruntime')
    facts['scan'] = describe_choice(torch.zeros(1))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    report = {'provenance': facts, 'rows': rows}
    (out / 'latency.json').write_text(json.dumps(report, indent=1) + '\n')
    (out / 'latency.md').write_text(markdown(rows, facts))
    print('\n' + table(rows) + f'\n\n{out / "latency.md"}, {out / "latency.json"}')
    return report


def runs_of(
    name: str, size: Tuple[int, int], wanted: Sequence[str], folder: Path
) -> Dict[str, Tuple[Run, Optional[float]]]:
    """The wanted forms of a backbone as functions, with their errors against the one that trains.

    The error is ``None`` for the form without a scan, which computes something else. The folder
    is for the exported files.
    """
    torch.manual_seed(0)
    model = randomize_statistics(build_network(name)).eval()
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
    network = ExportedNetwork(copy.deepcopy(model), 'backbone', 'features').eval()
    write_onnx(network, image, path, leave_out_scan=leave_out_scan)
    run = load_runner(path)
    return lambda: run(image.numpy())


def _error(outputs: Sequence[Any], truth: Sequence[Tensor]) -> float:
    pairs = zip((torch.as_tensor(output) for output in outputs), truth, strict=True)
    return max(relative_error(a.numpy(), b.numpy()) for a, b in pairs)


def measure(name: str, size: Tuple[int, int], wanted: Sequence[str], rounds: int) -> Dict[str, Any]:
    """Verify and time one backbone at one size."""
    with tempfile.TemporaryDirectory() as folder:
        found = runs_of(name, size, wanted, Path(folder))
        correct = {f: run for f, (run, error) in found.items() if (error or 0.0) <= ERROR_LIMIT}
        # Long turns: the waiting threads of one library spin into the start of the next's.
        times = time_in_turns(correct, torch.device('cpu'), rounds, 0.5)
    results = {
        form: {'error': error, **(asdict(times[form]) if form in times else {})}
        for form, (_, error) in found.items()
    }
    return {'name': name, 'size': size, 'results': results}


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
    intro = (
        'Milliseconds for one image, median of the rounds, and in brackets how many times as fast '
        'as `deployed`. Every form but the one without the scan was compared with the form that '
        f'trains, to a relative error below {ERROR_LIMIT:g}.'
    )
    body = []
    for row in rows:
        reference = row['results'].get('deployed', {}).get('median')
        cells = [_cell(row['results'].get(name, {}), reference) for name in names]
        body.append([f'{row["name"]}, {row["size"][0]}x{row["size"][1]}', *cells])
    measured = [f'- {name}: {value}' for name, value in facts.items()]
    head = ['# Latency of backbones', '', intro, '']
    return '\n'.join([*head, *tables.markdown(['', *names], body), '', *measured, ''])


def _cell(found: Dict[str, Any], reference: Optional[float]) -> str:
    if 'median' not in found:
        return 'not timed'
    ratio = f' ({reference / found["median"]:.2f})' if reference else ''
    return f'{found["median"] * 1e3:.1f} ± {found["spread"] * 1e3:.1f}{ratio}'
