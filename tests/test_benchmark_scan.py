"""The benchmark of the scan: what it verifies and writes, not how fast anything is."""

import dataclasses
import json

import pytest
import torch
from scan_cases import RUNNABLE

from tinyvim_mm.benchmarks import contenders, scan
from tinyvim_mm.commands import benchmark
from tinyvim_mm.ops import BIDIRECTIONAL, CROSS_SCAN, SKIP_SCAN

CPU = torch.device('cpu')
CASES = {case.name: case for case in scan.cases(batch=2)}
#: One of each kind, small; odd sides are filled up where positions are skipped.
SMALL = {
    case.name: dataclasses.replace(case, d=6, dt_rank=2, height=5, width=6)
    for case in CASES.values()
    if '-T' in case.name or 'S6' in case.name
}


def test_the_shapes_are_those_of_the_networks():
    shapes = {
        name: (case.d, case.dt_rank, case.d_state, case.height, case.width, case.paths, case.skips)
        for name, case in CASES.items()
        if 'TinyViM' not in name
    }
    assert shapes == {
        'VMamba-T stage 1, N = 1': (96, 6, 1, 56, 56, CROSS_SCAN, False),
        'VMamba-T stage 1, N = 16': (192, 6, 16, 56, 56, CROSS_SCAN, False),
        'MobileMamba-S6 stage 1, 224x224': (320, 10, 1, 14, 14, BIDIRECTIONAL, False),
        'MobileMamba-B1 stage 1, 800x1344': (320, 10, 1, 50, 84, BIDIRECTIONAL, False),
        'EfficientVMamba-T stage 1': (96, 3, 16, 56, 56, SKIP_SCAN, True),
    }
    assert {case.batch for case in CASES.values()} == {2}


@pytest.mark.parametrize('name', SMALL)
def test_every_contender_is_right(name):
    functions, _ = contenders.contenders(SMALL[name], CPU, [*RUNNABLE, contenders.USUAL])
    assert {key.split()[0] for key in functions} == {*RUNNABLE, contenders.USUAL}
    for key, function in functions.items():
        assert scan.largest_error(function, SMALL[name], CPU) < scan.ERROR_LIMIT, key


def test_one_that_errs_is_not_timed(monkeypatch):
    case = next(iter(SMALL.values()))
    wrong = {'wrong': lambda *a: 1.001 * case.scan(scan.ss2d, *a)}
    monkeypatch.setattr(scan, 'contenders', lambda *_: (wrong, {}))
    row = scan.run_case(case, CPU, 1, None)
    assert row['results']['wrong']['error'] > scan.ERROR_LIMIT
    assert row['results']['wrong']['forward'] is None
    assert 'NOT TIMED' in scan.table([row], 'forward')


def test_a_path_that_skips_reads_each_position_once():
    case = CASES['EfficientVMamba-T stage 1']
    assert case.exponentials == 2 * 56 * 56 * 96 * 16
    assert CASES['VMamba-T stage 1, N = 16'].exponentials == 2 * 4 * 56 * 56 * 192 * 16


@pytest.mark.slow
def test_the_command_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    pytest.importorskip('matplotlib')
    monkeypatch.setattr(scan, 'cases', lambda batch: list(SMALL.values()))
    options = ['--no-backbone', '--rounds', '1', '--device', 'cpu', '--filter', 'EfficientVMamba']
    benchmark.scan([*options, '--out', str(tmp_path)])
    (row,) = json.loads((tmp_path / 'scan.json').read_text())['cases']
    assert row['case'] == 'EfficientVMamba-T stage 1'
    assert (row['shape']['skips'], row['paths']) == (True, 4)
    assert set(row['results']) >= {*RUNNABLE}
    assert (tmp_path / 'scan.png').stat().st_size > 0
    assert 'EfficientVMamba-T stage 1' in capsys.readouterr().out
