"""``tinyvim-mm scores``: rows that train, begin with each other's weights, and become tables."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmark_data import write_configs, write_data
from tool_runs import forget_runs

from tinyvim_mm.core.errors import PartlyFailedError, UsageError
from tinyvim_mm.recipes.configs import find_config, load_config
from tinyvim_mm.scores import queue, report, rows, score, scoring
from tinyvim_mm.scores.record import read_record
from tinyvim_mm.scores.speed import Speeds, _build, _inference, _Scores
from tinyvim_mm.training.hooks import LogHook
from tinyvim_mm.weights.files import load_file


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp('data'))


@pytest.fixture
def toy_rows(monkeypatch, tmp_path):
    pytest.importorskip('mmseg')
    pytest.importorskip('mmpretrain')
    forget_runs()
    write_configs(tmp_path)
    own = {
        'a': rows.Row('imagenette-15e', 'one', str(tmp_path / 'classes.py')),
        'a_seed1': rows.Row('imagenette-15e', 'one', str(tmp_path / 'classes.py'), seed=1),
        'b': rows.Row('camvid', 'two', str(tmp_path / 'streets.py'), start='a'),
        'missing': rows.Row('camvid', 'three', 'nowhere'),
    }
    for name in list(rows.ROWS):
        monkeypatch.delitem(rows.ROWS, name)
    for name, row in own.items():
        monkeypatch.setitem(rows.ROWS, name, row)
    monkeypatch.setitem(rows.TABLES, 'camvid', replace(rows.TABLES['camvid'], input_size=(64, 64)))


@pytest.mark.slow
def test_rows_train_begin_with_each_other_and_become_a_page(toy_rows, data, tmp_path, capsys):
    out = tmp_path / 'out'
    with pytest.raises(UsageError, match=r'begins with the weights of a, .*: tinyvim-mm scores a'):
        score(['b'], out, data_root=str(data))
    (first,) = score(['a'], out, data_root=str(data))
    (other,) = score(['a_seed1'], out, data_root=str(data))
    assert (first.length, first.unit, first.seed, other.seed) == (2, 'epochs', 0, 1)
    assert [v['step'] for v in first.validations] == [1, 2]
    assert first.scores['accuracy/top1'] == first.validations[-1]['accuracy/top1']
    assert first.losses != other.losses, 'the seed is the same'
    (streets,) = score(['b'], out, data_root=str(data))
    assert streets.split == 'test'
    classes = [streets.scores[f'IoU.{name}'] for name in ('sky', 'building', 'pole', 'road')]
    # The others have no pixel: they count where they were predicted, with 0.
    others = [v for k, v in streets.scores.items() if k[:4] == 'IoU.' and v is not None]
    assert np.mean(others) == pytest.approx(streets.scores['mIoU'], abs=0.01)
    assert len(classes) == 4

    # A third of the network is the neck and the head, which begin at random.
    begun = load_file(str(out / 'a' / 'epoch_2.pth'))['state_dict']
    ended = load_file(str(out / 'b' / 'iter_2.pth'))['state_dict']
    key = next(k for k in begun if k.startswith('backbone.') and k.endswith('weight'))
    assert (begun[key] - ended[key]).abs().max() < 0.01 < begun[key].abs().max()

    before = (out / 'a' / 'record.json').read_bytes()
    checkpoint = (out / 'a' / 'epoch_2.pth').stat().st_mtime_ns
    score(['a'], out, data_root=str(data))
    assert (out / 'a' / 'epoch_2.pth').stat().st_mtime_ns == checkpoint
    assert (out / 'a' / 'record.json').read_bytes() == before
    capsys.readouterr()
    score(out=out)
    assert f'{first.figure:.2f}' in capsys.readouterr().out

    page = tmp_path / 'page.md'
    page.write_text(
        '# Mine\n<!-- scores imagenette-15e -->\nold\n<!-- end -->\nrest\n'
        '<!-- scores summary -->\n<!-- end -->\n'
    )
    score(out=out, report=tmp_path / 'report', fill=[page])
    text = page.read_text()
    assert f'| one | {first.figure:.2f} | {other.figure:.2f} |' in text
    assert f'| one | top-1 % {first.figure:.2f} / {other.figure:.2f} |' in text
    assert 'old' not in text
    assert 'rest' in text
    assert {f.name for f in (tmp_path / 'report').glob('*.png')} == {
        'imagenette-15e.png',
        'camvid.png',
    }
    # Another machine has the report alone, and adds its rows to it.
    score(out=tmp_path / 'elsewhere', report=tmp_path / 'report', fill=[page])
    assert page.read_text() == text


@pytest.mark.slow
@pytest.mark.parametrize('name', ['a', 'b'])
def test_each_deployed_form_is_scored(name, toy_rows, data, tmp_path):
    pytest.importorskip('onnxruntime')
    rows.ROWS['b'] = replace(rows.ROWS['b'], start='')
    out, folder, page = tmp_path / 'out', tmp_path / 'report', tmp_path / 'page.md'
    page.write_text(f'<!-- scores deployed-{name} -->\n<!-- end -->')
    with pytest.raises(UsageError, match='not done'):
        score(out=out, deployed=[name], report=folder)
    settings = dict(report=folder, fill=[page], data_root=str(data), rounds=2)
    (record,) = score([name], out, deployed=[name], **settings)
    content = json.loads((folder / f'deployed-{name}.json').read_text())
    forms = {form['name']: form for form in content['forms']}
    assert len(forms) == 5
    for form in ('PyTorch, fp32', 'ONNX Runtime, fp32'):
        assert forms[form]['figure'] == pytest.approx(record.figure, abs=0.1)
    assert all(form['milliseconds'] > 0 for form in forms.values())
    dynamic = forms['ONNX Runtime, int8, dynamic']['size']
    assert 0 < dynamic < forms['ONNX Runtime, fp32']['size']
    assert page.read_text().count('\n| ') == 6
    assert (out / name / 'deployed' / 'calibration').is_dir()


@pytest.mark.slow
def test_an_interrupted_row_goes_on(toy_rows, data, tmp_path, monkeypatch):
    begun, stops = [], [1]
    train = scoring.train

    def noting(config, work_dir, **settings):
        begun.append(settings['resume'])
        return train(config, work_dir, **settings)

    def stop_once(hook, runner):
        if runner.epoch == 1 and stops:
            raise KeyboardInterrupt(stops.pop())

    monkeypatch.setattr(scoring, 'train', noting)
    monkeypatch.setattr(LogHook, 'before_train_epoch', stop_once)
    with pytest.raises(KeyboardInterrupt):
        score(['a'], tmp_path, data_root=str(data))
    assert not (tmp_path / 'a' / 'record.json').exists()
    (record,) = score(['a'], tmp_path, data_root=str(data))
    assert begun == [None, 'auto']
    assert [v['step'] for v in record.validations] == [1, 2]


def test_names_of_tables_and_rows(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(scoring, 'run_all', lambda names, *rest: called.extend(names))
    score(['bccd', 'tinyvim_s_15e', 'bccd_retinanet'], tmp_path)
    assert called == [*rows.rows_of('bccd'), 'tinyvim_s_15e']
    with pytest.raises(UsageError, match='no row tinyvim_x'):
        score(['tinyvim_x'], tmp_path)
    with pytest.raises(UsageError, match='--report'):
        score(out=tmp_path, fill=[__file__])
    with pytest.raises(UsageError, match='no file'):
        score(out=tmp_path, report=tmp_path, fill=['nowhere.md'])
    with pytest.raises(UsageError, match='no row is done'):
        score(out=tmp_path, report=tmp_path)


def test_every_row_has_a_config_and_a_start():
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    pytest.importorskip('mmpretrain')
    for config in {row.config for row in rows.ROWS.values()}:
        assert load_config(find_config(config)).model
    for name, row in rows.ROWS.items():
        assert row.table in rows.TABLES
        assert not row.start or list(rows.ROWS).index(row.start) < list(rows.ROWS).index(name)


def fake_start(monkeypatch, tmp_path, codes):
    """Rows as processes that end with these codes, and note when they begin and end."""
    notes = tmp_path / 'notes'

    def start(name, out, data_root, threads):
        code = (
            f'import sys, time; f = open({str(notes)!r}, "a"); f.write("+{name} "); f.flush(); '
            f'time.sleep(0.2); f.write("-{name} "); print("said {name}"); sys.exit({codes[name]})'
        )
        log = out / f'{name}.log'
        with log.open('wb') as stream:
            process = subprocess.Popen([sys.executable, '-c', code], stdout=stream)
        return queue._Job(process, time.monotonic(), log)

    monkeypatch.setattr(queue, '_start', start)
    monkeypatch.setattr(queue, '_LOOK_EVERY', 0.02)
    return notes


def test_the_queue_keeps_the_order_of_weights(monkeypatch, tmp_path, capsys):
    base = rows.Row('camvid', 'x', 'x')
    own = {'one': base, 'two': replace(base, start='one'), 'three': base, 'four': base}
    for name, row in own.items():
        monkeypatch.setitem(rows.ROWS, name, row)
    notes = fake_start(monkeypatch, tmp_path, dict.fromkeys(own, 0))
    queue.run_all(list(own), tmp_path, 'data', 2, None, lambda name: name == 'four')
    told = notes.read_text().split()
    assert sorted(told) == ['+one', '+three', '+two', '-one', '-three', '-two']
    assert told.index('-one') < told.index('+two')
    printed = capsys.readouterr().out
    assert 'four: done before' in printed
    assert 'said two' in printed


def test_the_queue_names_what_failed_and_does_the_rest(monkeypatch, tmp_path):
    base = rows.Row('camvid', 'x', 'x')
    for name in ('one', 'two'):
        monkeypatch.setitem(rows.ROWS, name, base)
    notes = fake_start(monkeypatch, tmp_path, {'one': 3, 'two': 0})
    with pytest.raises(PartlyFailedError, match=r'1 of 2 rows failed:\n.*one.log'):
        queue.run_all(['one', 'two'], tmp_path, 'data', 1, None, lambda name: False)
    assert '-two' in notes.read_text()


@pytest.mark.parametrize('text', ['', '{}', '[]', '{"schema": 9, "row": "tinyvim_s_15e"}'])
def test_a_damaged_record_is_named(text, tmp_path):
    file = tmp_path / 'record.json'
    file.write_text(text)
    with pytest.raises(ValueError, match=r'record\.json is no record of a row'):
        read_record(file)


def test_tables_without_records_say_how_to_measure():
    text = report.render('bccd', {}, Speeds({}, {}))
    assert text.count('not measured') == len(rows.rows_of('bccd'))
    assert '`tinyvim-mm scores bccd`' in text


def test_records_and_pages_of_the_project_agree():
    """Each figure of the pages comes from a record beside them."""
    folder = find_config('tinyvim_s_15e_imagenette').parents[2] / 'docs' / 'results' / 'benchmarks'
    records = report.read_records(folder)
    assert records
    text = (folder / 'README.md').read_text(encoding='utf-8')
    for record in records.values():
        assert f'{record.figure:.2f}' in text
        content = json.loads((folder / 'records' / f'{record.row}.json').read_text())
        assert content['config'] == rows.ROWS[record.row].config


def test_speed_is_of_the_deployed_network():
    pytest.importorskip('mmpretrain')
    model = _build('tinyvim_s_15e_imagenette').eval()
    _inference(_Scores(model), torch.device('cpu'))()
    assert Speeds({'x': {}}, {}).cells('imagenette-15e', 'y') == [''] * 4
