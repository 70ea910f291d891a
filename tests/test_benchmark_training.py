"""The benchmark of training: what it verifies and writes, not how fast anything is."""

import json

import pytest

from tinyvim_mm.benchmarks import TRAINING_FORMS, training
from tinyvim_mm.commands import benchmark

TINY = ['--models', 'tinyvim_s', '--size', '64', '--batch', '4', '--rounds', '1']


@pytest.fixture
def report(tmp_path):
    benchmark.training([*TINY, '--out', str(tmp_path)])
    return json.loads((tmp_path / 'training.json').read_text())


def test_every_form_is_verified_and_timed(report, tmp_path):
    (row,) = report['rows']
    assert list(row['results']) == list(TRAINING_FORMS)
    for form, found in row['results'].items():
        assert found['images'] == pytest.approx(4 / found['median'])
        assert found['error'] <= training.LIMITS[form.rpartition(' ')[2]]
    assert row['results']['channels-last bf16']['error'] > 0
    assert report['provenance']['batch'] == 4
    assert '| tinyvim_s | ' in (tmp_path / 'training.md').read_text()


def test_a_form_that_errs_is_not_timed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, 'LIMITS', {'fp32': 1.0, 'bf16': -1.0})
    benchmark.training([*TINY, '--out', str(tmp_path)])
    assert 'not timed: the loss differs by' in capsys.readouterr().out
