"""Measurement of a table's cells."""

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Sequence

import torch
from torch import nn

from ..core.errors import UsageError
from ..measuring import cost
from ..training import evaluate
from . import networks, throughput
from .output import columns_of
from .schema import METRICS, Row, Table
from .store import Store

#: Metrics that need the network itself.
_COSTS = ('params', 'gmacs', 'gmacs_all', 'latency', 'throughput')


@dataclass(frozen=True)
class Evaluation:
    """How accuracies are evaluated: options of :func:`.reproduce`, and a folder for the logs."""

    checkpoints: Mapping[str, str]
    work_dir: str
    data_root: Optional[str] = None
    options: Optional[Mapping[str, Any]] = None
    trust_checkpoint: bool = False
    allow_new_keys: bool = False
    _found: Dict[str, Dict[str, Any]] = field(default_factory=dict)

    def run(self, config: str) -> Dict[str, Any]:
        """What the toolbox's metrics return for a config's checkpoint; evaluated once."""
        if config not in self._found:
            print(f'    evaluating {self.checkpoints[config]} with {config}', flush=True)
            self._found[config] = evaluate(
                config,
                self.checkpoints[config],
                f'{self.work_dir}/{config}',
                options=self.options,
                data_root=self.data_root,
                trust_checkpoint=self.trust_checkpoint,
                allow_new_keys=self.allow_new_keys,
            )
        return self._found[config]


def measure_table(
    table: Table,
    store: Store,
    evaluation: Evaluation,
    settings: Sequence[throughput.Setting],
    device: torch.device,
    rounds: int,
) -> None:
    """Fill the cells of a table that the store lacks; ``settings`` are of the throughput."""
    models: Dict[str, nn.Module] = {}
    every = columns_of(table, settings)
    # All of them or none: those that are timed take turns.
    columns = [column for column in every if column.partition(':')[0] in _COSTS]
    complete = bool(columns) and all(store.has(r, c) for r in table.rows for c in columns)
    for row in table.rows:
        print(f'  {row.name}', flush=True)
        if complete:
            _score(row, store, evaluation)
            continue
        try:
            models[row.name], error = networks.build(table, row)
        except networks.UnavailableError as reason:
            note = ' '.join(str(reason).split())
            for column in every:
                store.put(row, column, reason=note)
            continue
        _count(table, row, models[row.name], error, store)
        _score(row, store, evaluation)
    for setting in settings:
        _time(table, models, setting, store, device, rounds)


def _count(table: Table, row: Row, model: Any, error: Optional[float], store: Store) -> None:
    wanted = [m for m in ('params', 'gmacs', 'gmacs_all') if m in table.metrics]
    if not all(store.has(row, metric) for metric in wanted):
        found = cost.count(model, row.size or table.size, macs='gmacs' in wanted)
        values = {'params': found.parameters / 1e6}
        if found.macs is not None:
            values['gmacs'] = found.macs / 1e9
            values['gmacs_all'] = (found.macs + found.scan_macs) / 1e9
        missing = {'reason': 'counting the scan needs the compiled operator'}
        for metric in wanted:
            cell = {'measured': values[metric]} if metric in values else missing
            store.put(row, metric, **cell)
    if 'error' in table.metrics and error is not None:
        store.put(row, 'error', measured=error)


def _score(row: Row, store: Store, evaluation: Evaluation) -> None:
    for metric, score in row.scores.items():
        if store.has(row, metric):
            continue
        if score.config not in evaluation.checkpoints:
            store.put(row, metric, reason='no checkpoint was given (--checkpoint CONFIG=FILE)')
            continue
        found = evaluation.run(score.config)
        if score.key not in found:
            raise UsageError(
                f'evaluating {score.config} gave no {score.key}, only {", ".join(found)}'
            )
        store.put(row, metric, measured=float(found[score.key]) * score.scale)


def _time(
    table: Table,
    models: Dict[str, Any],
    setting: throughput.Setting,
    store: Store,
    device: torch.device,
    rounds: int,
) -> None:
    """Measure one setting for all networks together: they are compared, so they take turns."""
    columns = [c for c in columns_of(table, [setting]) if METRICS[c.partition(':')[0]].timed]
    rows = {row.name: row for row in table.rows if row.name in models}
    if all(store.has(row, column) for row in rows.values() for column in columns):
        return
    times, failed = throughput.measure(models, table.size, setting, device, rounds)
    for name, timing in times.items():
        share = timing.spread / timing.median
        values = {'throughput': setting.batch / timing.median, 'latency': timing.median * 1e3}
        for column in columns:
            value = values[column.partition(':')[0]]
            store.put(rows[name], column, measured=value, spread=value * share)
    for name, reason in failed.items():
        for column in columns:
            store.put(rows[name], column, reason=f'{setting}: {reason}')
