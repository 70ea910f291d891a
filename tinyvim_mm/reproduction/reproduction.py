"""Measurement of the paper's tables, beside what was published."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch

from ..core import environment
from ..core.errors import MachineError, UsageError
from ..core.paths import shown
from ..core.tables import to_csv
from ..measuring.timing import provenance
from ..ops import describe_choice
from ..recipes.starting_weights import existing_checkpoint
from ..recipes.zoo import list_models
from ..weights.downloads import with_word
from . import output
from .measurement import Evaluation, measure_table
from .schema import Table
from .store import Store
from .tables import TABLES
from .throughput import settings_for


@with_word
def reproduce(
    table: str,
    out: Union[str, Path] = 'work_dirs/reproduce',
    *,
    checkpoints: Union[Mapping[str, str], Sequence[Tuple[str, str]]] = (),
    data_root: Optional[str] = None,
    options: Optional[Mapping[str, Any]] = None,
    allow_new_keys: bool = False,
    trust_checkpoint: bool = False,
    allow_download: bool = False,
    device: Optional[str] = None,
    batches: Optional[Sequence[int]] = None,
    precisions: Optional[Sequence[str]] = None,
    forms: Optional[Sequence[str]] = None,
    rounds: int = 7,
    threads: Optional[int] = None,
    throughput: bool = True,
    rows: Optional[Sequence[str]] = None,
    resume: bool = False,
    fill: Sequence[Union[str, Path]] = (),
    command: Optional[str] = None,
) -> Dict[str, List[Dict[str, Any]]]:
    """Measure tables on this machine, and write each figure beside the published one.

    What cannot be measured is said so, and why.

    Args:
        table: One of :data:`.tables.TABLES`, or ``'all'``.
        out: Folder for the results: Markdown, CSV and JSON of each table.
        checkpoints: Evaluated for the accuracies: names of configs to files, or pairs of them.
        data_root: Folder that stands for ``data/`` in the configs' paths.
        options: Settings of the configs to change: dotted keys to values.
        allow_new_keys: Let ``options`` set keys that nothing here reads.
        trust_checkpoint: Let checkpoints execute code.
        allow_download: Let checkpoints be fetched from ``http://`` and ``https://``.
        device: ``'cpu'`` or ``'cuda'``; ``None`` takes CUDA where it is there.
        batches: Images at a time, for the throughput; this and the next two are
            explained, with their defaults, at :func:`.throughput.settings_for`.
        precisions: ``'fp32'``, ``'tf32'``, ``'bf16'``.
        forms: ``'eager'``, ``'compiled'``, ``'cuda-graph'``.
        rounds: Turns of each network.
        threads: Of the CPU; ``None`` leaves the choice to torch.
        throughput: Whether speeds are measured.
        rows: Only the networks whose name contains one of these.
        resume: Keep what an interrupted run with the same device and versions has measured.
        fill: Pages in which the tables stand between ``<!-- reproduce TABLE -->`` and
            ``<!-- end -->``.
        command: How the user called this, for the results.

    Returns:
        By table, a record for each network and metric, as in the CSV.

    Raises:
        UsageError: An option does not fit; the message says what to do.
        CheckpointError: A checkpoint cannot be read or does not fit.

    Example:
        >>> from tinyvim_mm.reproduction import reproduce
        >>> reproduce('classification', throughput=False)  # doctest: +SKIP
    """
    checkpoints = dict(checkpoints)
    for name in checkpoints:
        if name not in list_models():
            raise UsageError(
                f'--checkpoint: there is no config {name!r}; tinyvim_mm.list_models() lists them'
            )
    for path in checkpoints.values():
        existing_checkpoint(path, '--checkpoint')
    for path in fill:
        if not Path(path).is_file():
            raise UsageError(f'there is no file {path}')
    place = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if place.type == 'cuda' and not torch.cuda.is_available():
        raise MachineError('--device cuda: torch sees no CUDA device here; take --device cpu')
    if threads:
        torch.set_num_threads(threads)
    facts = provenance(place, command)
    facts['scan'] = describe_choice(torch.zeros(1, device=place))
    facts.update(_versions())

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    evaluation = Evaluation(
        checkpoints, str(out / 'evaluation'), data_root, options, trust_checkpoint, allow_new_keys
    )
    pages: Dict[str, str] = {}
    results: Dict[str, List[Dict[str, Any]]] = {}
    for name in TABLES if table == 'all' else [table]:
        store = Store(out / f'{name}.json', facts, resume)
        chosen = _selected(TABLES[name], rows)
        if not chosen.rows:
            continue
        print(f'== {name}: {chosen.title}', flush=True)
        settings = []
        if 'throughput' in chosen.metrics and throughput:
            settings = settings_for(place, chosen.task, batches, precisions, forms, chosen.batches)
        measure_table(chosen, store, evaluation, settings, place, rounds)
        records = results[name] = output.flatten(chosen, store.cells, settings)
        store.write(records)
        pages[name] = output.to_markdown(chosen, records, store.facts)
        (out / f'{name}.csv').write_text(to_csv(records), encoding='utf-8')
        (out / f'{name}.md').write_text(pages[name], encoding='utf-8')
        print(pages[name], flush=True)
    if not pages:
        raise UsageError(f'--rows {" ".join(rows or ())}: no table has such a network')
    if table == 'all':
        (out / 'README.md').write_text(output.page(pages), encoding='utf-8')
    for path in fill:
        print(f'{path}: filled {", ".join(output.fill(Path(path), pages))}')
    print(f'Written to {shown(out)}')
    return results


def _versions() -> Dict[str, str]:
    """Of the packages whose networks the tables hold, under their family's names."""
    names = map(environment.distribution_of, ('timm', 'mmdet', 'mmseg', 'mmpretrain'))
    found = {name: environment.installed_version(name) for name in names}
    return {name: version for name, version in found.items() if version}


def _selected(table: Table, wanted: Optional[Sequence[str]]) -> Table:
    if not wanted:
        return table
    rows = tuple(row for row in table.rows if any(w.lower() in row.name.lower() for w in wanted))
    return replace(table, rows=rows)
