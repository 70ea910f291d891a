"""From names of rows to records, tables and pictures."""

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch

from ..core.errors import UsageError
from ..core.paths import shown
from ..finetune import finetune
from ..records.results import last_checkpoint
from ..records.run_record import FINISHED
from ..records.training_log import LogError, TrainingLog, read_log
from ..training import evaluate, train
from .deployment import measure_deployed
from .queue import run_all
from .record import ScoreRecord, make_record, read_record
from .report import DEPLOYED, list_rows, write_report
from .rows import ROWS, TABLES, Row, rows_of
from .speed import measure_speeds

RECORD = 'record.json'


def score(
    rows: Sequence[str] = (),
    out: Union[str, Path] = 'work_dirs/scores',
    *,
    data_root: str = 'data',
    jobs: int = 1,
    threads: Optional[int] = None,
    report: Union[str, Path, None] = None,
    fill: Sequence[Union[str, Path]] = (),
    speed: bool = False,
    deployed: Sequence[str] = (),
    rounds: int = 9,
    command: Optional[str] = None,
) -> List[ScoreRecord]:
    """Train and score rows, one command for each; those that are done already are not repeated.

    An interrupted row goes on where it was. Without rows and report, tells which there are.

    Args:
        rows: Names of rows, or of tables, or ``'all'``.
        out: Folder with a work dir for each row; ``record.json`` in it is the result.
        data_root: Folder with ``imagenette``, ``camvid`` and ``bccd``.
        jobs: Rows that run at a time, each a process of its own, with its log in
            ``OUT/ROW.log``. With 1 row, and no other, it runs here.
        threads: Of the CPU, for each row; ``None`` leaves the choice to torch.
        report: Folder for records, curves and tables of all rows that are done; records that
            it holds already are kept.
        fill: Pages in which the tables stand between ``<!-- scores TABLE -->`` and
            ``<!-- end -->``.
        speed: Time the networks of the Imagenette table, in turns, for the report. It wants an
            idle machine.
        deployed: Rows that are done, to be exported, scored in each form, and timed, for the
            report; wants an idle machine, too.
        rounds: Turns of each network.
        command: How the user called this, for messages.

    Returns:
        The records of the rows.

    Raises:
        UsageError: There is no such row, or the row whose weights it begins with is not done.
        PartlyFailedError: Some of several rows failed; the others are done.

    Example:
        >>> from tinyvim_mm.scores import score
        >>> score(['tinyvim_s_15e'])  # doctest: +SKIP
    """
    names, out = _chosen(rows), Path(out)
    for page in fill:
        if not Path(page).is_file():
            raise UsageError(f'there is no file {page}')
    if report is None and (fill or speed or deployed):
        raise UsageError('--fill, --speed and --deployed go with --report: give its folder')
    if threads:
        torch.set_num_threads(threads)
    if len(names) == 1:
        _score_one(names[0], out, data_root, command)
    elif names:
        run_all(names, out, data_root, jobs, threads, lambda name: _done(out / name) is not None)
    if speed:
        measure_speeds(Path(report), rounds, command)
    for name in deployed:
        _measure_deployed(name, out, Path(str(report)), data_root, rounds, command)
    if report is not None:
        write_report(Path(report), [r for n in ROWS if (r := _done(out / n))], fill)
    elif not names:
        print(list_rows({name: _done(out / name) for name in ROWS}))
    return [record for name in names if (record := _done(out / name))]


def _chosen(words: Sequence[str]) -> List[str]:
    names: Dict[str, None] = {}
    for word in words:
        found = list(ROWS) if word == 'all' else rows_of(word) or [word]
        names.update(dict.fromkeys(found))
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise UsageError(
            f'there is no row {", ".join(unknown)}; rows are {", ".join(ROWS)}; '
            f'tables are {", ".join(TABLES)}'
        )
    return list(names)


def _done(work_dir: Path) -> Optional[ScoreRecord]:
    file = work_dir / RECORD
    if not file.is_file():
        return None
    try:
        return read_record(file)
    except ValueError as error:
        raise UsageError(f'{error}; remove it, and the row is scored again') from error


def _score_one(name: str, out: Path, data_root: str, command: Optional[str]) -> None:
    row, work_dir = ROWS[name], out / name
    record = _done(work_dir)
    if record is None:
        weights = _weights_of(row, out)
        run = _finetune if TABLES[row.table].own_data else _train
        log, checkpoint, scores = run(row, work_dir, weights, data_root, command)
        device = torch.device('cuda' if log.device != 'CPU' else 'cpu')
        record = make_record(name, log, scores, checkpoint, device)
        record.write(work_dir / RECORD)
    table = TABLES[row.table]
    print(f'{name}: {table.metric} {record.figure:.2f}; {shown(work_dir / RECORD)}')


def _weights_of(row: Row, out: Path) -> Optional[Path]:
    """Checkpoint of the row that this one begins with; ``None`` for random weights."""
    if not row.start:
        return None
    if _done(out / row.start) is None:
        raise UsageError(
            f'it begins with the weights of {row.start}, which is not done in {shown(out)}: '
            f'tinyvim-mm scores {row.start}'
        )
    return _last_checkpoint(out / row.start).resolve()


def _measure_deployed(
    name: str, out: Path, report: Path, data_root: str, rounds: int, command: Optional[str]
) -> None:
    if _done(out / name) is None:
        raise UsageError(f'--deployed {name}: it is not done in {shown(out)}')
    report.mkdir(parents=True, exist_ok=True)
    measure_deployed(
        name,
        _last_checkpoint(out / name),
        out / name / 'deployed',
        report / f'{DEPLOYED}-{name}.json',
        data_root,
        rounds,
        command,
    )


def _last_checkpoint(work_dir: Path) -> Path:
    file = last_checkpoint(work_dir)
    if file is None:
        raise UsageError(f'{shown(work_dir)} has no checkpoint any more; remove it to train anew')
    return file


def _train(
    row: Row, work_dir: Path, weights: Optional[Path], data_root: str, command: Optional[str]
) -> Tuple[TrainingLog, Path, Dict[str, Any]]:
    """Train a config, and score its last weights."""
    options: Dict[str, Any] = {'randomness.seed': row.seed} if row.seed else {}
    if weights is not None:
        init = dict(type='Pretrained', checkpoint=str(weights), prefix='backbone.')
        options['model.backbone.init_cfg'] = init
    if not _finished(work_dir):
        resume = 'auto' if list(work_dir.glob('*.pth')) else None
        train(
            row.config,
            work_dir,
            options=options,
            data_root=data_root,
            amp=True,
            resume=resume,
            command=command,
        )
    log, checkpoint = read_log(work_dir), _last_checkpoint(work_dir)
    if TABLES[row.table].split == 'test':
        scores = evaluate(row.config, checkpoint, work_dir / 'test', data_root=data_root) or {}
    else:
        scores = {key: value for key, value in log.validations[-1].items() if key != 'step'}
    return log, checkpoint, scores


def _finished(work_dir: Path) -> bool:
    try:
        log = read_log(work_dir)
    except LogError:
        return False
    return log.done >= log.wanted and log.runs[-1].state == FINISHED


def _finetune(
    row: Row, work_dir: Path, weights: Optional[Path], data_root: str, command: Optional[str]
) -> Tuple[TrainingLog, Path, Dict[str, Any]]:
    """Fine-tune, which keeps the weights that are best on val and scores them on test."""
    result_file = work_dir / 'result.json'
    if not result_file.is_file():
        finetune(
            Path(data_root) / TABLES[row.table].own_data,
            model=row.config,
            out=work_dir,
            weights=str(weights) if weights else None,
            resume=bool(list((work_dir / 'train').glob('*.pth'))),
            command=command,
        )
    result = json.loads(result_file.read_text(encoding='utf-8'))
    if result['evaluated_on'] != TABLES[row.table].split:
        raise UsageError(f'{result_file} was not evaluated on the {TABLES[row.table].split} split')
    log = read_log(work_dir / 'train')
    return log, work_dir / 'train' / result['best_checkpoint'], result['scores']
