"""The benchmark of whole backbones: what it verifies and writes, not how fast anything is."""

import json

import pytest
import torch
from torch import nn

from tinyvim_mm.benchmarks import backends
from tinyvim_mm.commands import benchmark
from tinyvim_mm.models import TinyViM
from tinyvim_mm.models.layers import SS2D

TINY = ['--archs', 's', '--size', '64', '--batch', '2', '--rounds', '1', '--device', 'cpu']


@pytest.mark.parametrize('options', [[], ['--precision', 'bf16'], ['--train']])
def test_every_backend_is_verified_and_timed(options, tmp_path):
    benchmark.backends([*TINY, *options, '--out', str(tmp_path)])
    report = json.loads((tmp_path / 'backends.json').read_text())
    (row,) = report['rows']
    assert {'reference', backends.NO_SCAN} < {*row['results']}
    assert not row['refused']
    assert report['provenance']['batch'] == 2
    assert '| TinyViM-S | ' in (tmp_path / 'backends.md').read_text()


def test_a_backend_that_errs_is_not_timed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(backends, 'LIMITS', {'fp32': -1.0})
    benchmark.backends([*TINY, '--out', str(tmp_path)])
    assert 'its feature maps differ by' in capsys.readouterr().out
    (row,) = json.loads((tmp_path / 'backends.json').read_text())['rows']
    assert [*row['results']] == [backends.NO_SCAN]


def test_without_scans_nothing_is_scanned():
    model = TinyViM('s')
    backends._leave_scans_out(model)
    assert not any(isinstance(layer, SS2D) for layer in model.modules())
    assert any(isinstance(layer, nn.Identity) for layer in model.modules())
    model(torch.rand(1, 3, 64, 64))


def test_a_backend_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit):
        benchmark.backends([*TINY, '--backends', 'cuda', '--out', str(tmp_path)])
    assert 'none of these runs here' in capsys.readouterr().err
