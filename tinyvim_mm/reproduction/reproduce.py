"""The command behind ``tools/reproduce.py``."""

import argparse
import contextlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ..commands.options import add_cfg_options, add_trust_option, count
from ..commands.run import run_command
from ..core.errors import MachineError, UsageError
from ..core.paths import shown
from .schema import METRICS, Row, Table
from .tables import TABLES


def build_parser() -> argparse.ArgumentParser:
    """Options of ``tools/reproduce.py``."""
    parser = argparse.ArgumentParser(
        prog='tools/reproduce.py',
        description="Measure the paper's tables on this machine, and write each figure beside the "
        'published one. What cannot be measured is said so, and why.',
    )
    parser.add_argument('table', choices=[*TABLES, 'all'], metavar='TABLE', help=', '.join(TABLES))
    parser.add_argument('--out', default='work_dirs/reproduce', help='folder for the results')
    parser.add_argument(
        '--checkpoint',
        nargs='+',
        default=[],
        metavar='CONFIG=FILE',
        help='evaluate a checkpoint for the accuracies, with the config of that name',
    )
    parser.add_argument(
        '--data-root', metavar='DIR', help="folder that stands for `data/` in the configs' paths"
    )
    add_cfg_options(parser, 'change settings of the configs that checkpoints are evaluated with')
    add_trust_option(parser)
    parser.add_argument('--device', help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--batch', nargs='+', type=count, help='batch sizes of the throughput')
    parser.add_argument('--precisions', nargs='+', choices=['fp32', 'tf32', 'bf16'])
    parser.add_argument('--forms', nargs='+', choices=['eager', 'compiled', 'cuda-graph'])
    parser.add_argument('--rounds', type=count, default=7, help='turns of each network')
    parser.add_argument('--threads', type=count, help='CPU threads')
    parser.add_argument('--no-throughput', action='store_true', help='measure no speeds')
    parser.add_argument(
        '--rows',
        nargs='+',
        metavar='NAME',
        help='only the networks whose name contains one of these',
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        help='keep what an interrupted run with the same device and versions has measured',
    )
    parser.add_argument(
        '--fill',
        nargs='+',
        default=[],
        metavar='PAGE',
        help='put the tables between <!-- reproduce TABLE --> and <!-- end --> of these pages',
    )
    return parser


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/reproduce.py``.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Raises:
        SystemExit: With code 2 after an error that the user can cure.
    """
    run_command(build_parser(), reproduce, argv)


def reproduce(args: argparse.Namespace) -> None:
    """Measure and write the tables that the command names.

    Args:
        args: Parsed by :func:`build_parser`.

    Raises:
        UsageError: An option does not fit.
    """
    import torch

    from ..measuring.timing import provenance
    from ..ops import describe_choice
    from . import output
    from .accuracy import parse_checkpoints

    args.checkpoint = parse_checkpoints(args.checkpoint)
    for path in [*args.checkpoint.values(), *args.fill]:
        if not Path(path).is_file():
            raise UsageError(f'there is no file {path}')
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise MachineError('--device cuda: torch sees no CUDA device here; take --device cpu')
    if args.threads:
        torch.set_num_threads(args.threads)
    facts = provenance(device)
    facts['command'] = args.command
    facts['scan'] = describe_choice(torch.zeros(1, device=device))
    facts.update(_versions())

    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    names = list(TABLES) if args.table == 'all' else [args.table]
    pages: Dict[str, str] = {}
    for name in names:
        store = Store(out / f'{name}.json', facts, args.resume)
        table = _selected(TABLES[name], args.rows)
        if not table.rows:
            continue
        print(f'== {name}: {table.title}', flush=True)
        settings = measure_table(table, store, device, args)
        records = output.flatten(table, store.cells, settings)
        store.write(records)
        pages[name] = output.to_markdown(table, records, store.facts)
        (out / f'{name}.csv').write_text(output.to_csv(records), encoding='utf-8')
        (out / f'{name}.md').write_text(pages[name], encoding='utf-8')
        print(pages[name], flush=True)
    if not pages:
        raise UsageError(f'--rows {" ".join(args.rows)}: no table has such a network')
    if args.table == 'all':
        (out / 'README.md').write_text(output.page(pages), encoding='utf-8')
    for path in args.fill:
        print(f'{path}: filled {", ".join(output.fill(Path(path), pages))}')
    print(f'Written to {shown(out)}')


#: Under either family's name.
_PACKAGES = (
    'timm',
    'mmdet',
    'mmsegmentation',
    'mmpretrain',
    'onedl-mmdetection',
    'onedl-mmsegmentation',
    'onedl-mmpretrain',
)


def _versions() -> Dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _selected(table: Table, wanted: Optional[Sequence[str]]) -> Table:
    if not wanted:
        return table
    rows = tuple(row for row in table.rows if any(w.lower() in row.name.lower() for w in wanted))
    return Table(**{**table.__dict__, 'rows': rows})


class Store:
    """Measured cells, on disk after each of them, so that a run can go on.

    Args:
        path: JSON file.
        facts: What they are measured with.
        resume: Whether to take over what is in the file, if all facts but date and
            command are the same.

    Attributes:
        cells: By row and column.
        facts: Those of the file as long as nothing is measured anew; then with the
            command that did it, too.
    """

    def __init__(self, path: Path, facts: Dict[str, Any], resume: bool) -> None:
        self.path = path
        self.facts = self._now = facts
        self.cells: Dict[str, Dict[str, Dict[str, Any]]] = {}
        if resume and path.is_file():
            try:
                found = json.loads(path.read_text(encoding='utf-8'))
            except json.JSONDecodeError as error:
                raise UsageError(f'--resume: {path} is damaged ({error}); remove it') from error
            if self._lasting(found['provenance']) == self._lasting(facts):
                self.cells, self.facts = found['cells'], found['provenance']
            else:
                print(f'{path} was measured with something else and is measured anew')

    @staticmethod
    def _lasting(facts: Dict[str, Any]) -> Dict[str, Any]:
        return {key: value for key, value in facts.items() if key not in ('date', 'command')}

    def has(self, row: Row, column: str) -> bool:
        """Whether a cell is there already, with a figure."""
        return 'measured' in self.cells.get(row.name, {}).get(column, {})

    def put(self, row: Row, column: str, **cell: Any) -> None:
        """Add a cell and save."""
        before = self.facts['command']
        if 'measured' in cell and not before.endswith(self._now['command']):
            self.facts = {**self._now, 'command': f'{before}; {self._now["command"]}'}
        self.cells.setdefault(row.name, {})[column] = cell
        self.write([])

    def write(self, records: List[Dict[str, Any]]) -> None:
        """Save; an earlier file is replaced once the new one is whole."""
        partial = self.path.with_suffix('.partial')
        content = {'provenance': self.facts, 'cells': self.cells, 'records': records}
        partial.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
        partial.replace(self.path)


#: Metrics that need the network itself.
_COSTS = ('params', 'gmacs', 'gmacs_all', 'latency', 'throughput')


def measure_table(table: Table, store: Store, device: Any, args: argparse.Namespace) -> List[str]:
    """Fill the cells of a table, and return the settings of its throughput."""
    from . import throughput
    from .networks import UnavailableError, build

    settings = []
    if 'throughput' in table.metrics and not args.no_throughput:
        settings = throughput.settings_for(
            device, table.task, args.batch, args.precisions, args.forms, table.batches
        )
    models: Dict[str, Any] = {}
    # All of them or none: those that are timed take turns.
    columns = [c for c in _columns(table, settings) if c.partition(':')[0] in _COSTS]
    complete = bool(columns) and all(store.has(r, c) for r in table.rows for c in columns)
    for row in table.rows:
        print(f'  {row.name}', flush=True)
        if complete:
            _score(row, store, args)
            continue
        try:
            models[row.name], error = build(table, row)
        except UnavailableError as reason:
            note = ' '.join(str(reason).split())
            for column in _columns(table, settings):
                store.put(row, column, reason=note)
            continue
        _count(table, row, models[row.name], error, store)
        _score(row, store, args)
    for setting in settings:
        _time(table, models, setting, store, device, args.rounds)
    return [str(setting) for setting in settings]


def _columns(table: Table, settings: Sequence[Any]) -> List[str]:
    from .output import columns_of

    return columns_of(table, [str(setting) for setting in settings])


def _count(table: Table, row: Row, model: Any, error: Optional[float], store: Store) -> None:
    from ..measuring import cost as costs

    wanted = [m for m in ('params', 'gmacs', 'gmacs_all') if m in table.metrics]
    if not all(store.has(row, metric) for metric in wanted):
        cost = costs.count(model, row.size or table.size, macs='gmacs' in wanted)
        values = {'params': cost.parameters / 1e6}
        if 'gmacs' in wanted and cost.macs is None:
            for metric in wanted[1:]:
                store.put(row, metric, reason='counting the scan needs the compiled operator')
        elif 'gmacs' in wanted:
            values['gmacs'] = cost.macs / 1e9
            values['gmacs_all'] = (cost.macs + cost.scan_macs) / 1e9
        for metric in wanted:
            if metric in values:
                store.put(row, metric, measured=values[metric])
    if 'error' in table.metrics and error is not None:
        store.put(row, 'error', measured=error)


def _score(row: Row, store: Store, args: argparse.Namespace) -> None:
    from .accuracy import evaluate

    results: Dict[str, Dict[str, Any]] = {}
    for metric, score in row.scores.items():
        if store.has(row, metric):
            continue
        if score.config not in args.checkpoint:
            store.put(row, metric, reason='no checkpoint was given (--checkpoint CONFIG=FILE)')
            continue
        if score.config not in results:
            print(f'    evaluating {args.checkpoint[score.config]} with {score.config}', flush=True)
            results[score.config] = evaluate(
                score.config,
                args.checkpoint[score.config],
                str(Path(args.out) / 'evaluation' / score.config),
                args.data_root,
                args.cfg_options,
                args.trust_checkpoint,
            )
        found = results[score.config]
        if score.key not in found:
            raise UsageError(
                f'evaluating {score.config} gave no {score.key}, only {", ".join(found)}'
            )
        store.put(row, metric, measured=float(found[score.key]) * score.scale)


def _time(
    table: Table,
    models: Dict[str, Any],
    setting: Any,
    store: Store,
    device: Any,
    rounds: int,
) -> None:
    """Measure one setting for all networks together: they are compared, so they take turns."""
    from . import throughput

    columns = [
        column for column in _columns(table, [setting]) if METRICS[column.partition(':')[0]].timed
    ]
    rows = {row.name: row for row in table.rows if row.name in models}
    if all(store.has(row, column) for row in rows.values() for column in columns):
        return
    times, failed = throughput.measure(
        models, table.size, setting, device, rounds, lambda line: print(f'    {line}', flush=True)
    )
    for name, timing in times.items():
        share = timing.spread / timing.median
        values = {'throughput': setting.batch / timing.median, 'latency': timing.median * 1e3}
        for column in columns:
            value = values[column.partition(':')[0]]
            store.put(rows[name], column, measured=value, spread=value * share)
    for name, reason in failed.items():
        for column in columns:
            store.put(rows[name], column, reason=f'{setting}: {reason}')
