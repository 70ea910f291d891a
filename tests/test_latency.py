"""The benchmark of latencies: what it verifies and writes, not how fast anything is."""

import json

import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from tinyvim_mm.benchmarks import latency
from tinyvim_mm.commands import benchmark

FORMS = [form for form in latency.FORMS if form != 'compiled']


def run(folder):
    benchmark.latency(
        ['--models', 'tinyvim_s', '--sizes', '64x96', '--rounds', '1', '--out', str(folder)]
        + ['--forms', *FORMS]
    )
    return json.loads((folder / 'latency.json').read_text())


def test_every_form_is_verified_and_timed(tmp_path, capsys):
    report = run(tmp_path)
    (row,) = report['rows']
    assert (row['name'], row['size']) == ('tinyvim_s', [64, 96])
    assert list(row['results']) == FORMS
    for name, found in row['results'].items():
        assert found['median'] > 0
        assert (found['error'] is None) == name.endswith('no scan')
        assert (found['error'] or 0) < latency.ERROR_LIMIT
    assert report['provenance']['torch']
    assert 'tinyvim_s at 64x96' in capsys.readouterr().out
    page = (tmp_path / 'latency.md').read_text()
    assert '| tinyvim_s, 64x96 | ' in page
    assert report['provenance']['onnxruntime'] in page


def test_a_form_that_errs_is_not_timed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(latency, '_error', lambda outputs, truth: 0.5)
    found = run(tmp_path)['rows'][0]['results']
    assert 'median' not in found['deployed']
    assert 'NOT TIMED: relative error 5.0e-01' in capsys.readouterr().out


def test_any_backbone_is_verified(tmp_path):
    benchmark.latency(
        ['--models', 'mobilemamba_t2', '--sizes', '64x96', '--rounds', '1', '--out', str(tmp_path)]
        + ['--forms', 'training', 'deployed', 'onnxruntime']
    )
    (row,) = json.loads((tmp_path / 'latency.json').read_text())['rows']
    assert row['name'] == 'mobilemamba_t2'
    assert all(found['error'] < latency.ERROR_LIMIT for found in row['results'].values())
