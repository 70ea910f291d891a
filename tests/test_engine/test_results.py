"""Tables of trainings, from what their runs leave behind."""

import csv
import functools
import hashlib
import json
import re

import pytest
import yaml
from recorded_logs import KINDS, write_work_dir

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

from tinyvim_mm.commands import collect
from tinyvim_mm.recipes import metafiles
from tinyvim_mm.recipes.configs import find_config
from tinyvim_mm.records import results
from tinyvim_mm.records.run_record import RUNNING, STOPPED
from tinyvim_mm.records.training_log import LogError, read_log

DETECTOR = 'mask_rcnn_tinyvim_b_1x_coco'
SEGMENTOR = 'fpn_tinyvim_s_40k_ade20k'
CLASSIFIER = 'tinyvim_s_300e_in1k'


def aps(*values):
    return [
        {'coco/bbox_mAP': box, 'coco/segm_mAP': box - 0.03, 'time': 0.1, 'step': epoch}
        for epoch, box in enumerate(values, 1)
    ]


@pytest.fixture(params=KINDS)
def write(request):
    """``write_work_dir`` of runs with a ``run.json``, and of those with a text log alone."""
    return functools.partial(write_work_dir, kind=request.param)


@pytest.fixture
def detector(tmp_path):
    return write_detector(tmp_path, 'run.json')


def write_detector(tmp_path, kind):
    scores = aps(*[0.3] * 10, 0.42, 0.41)
    kinds = dict(done=1200, steps_per_epoch=100, devices=8, kind=kind)
    return write_work_dir(tmp_path / 'det', DETECTOR, scores, **kinds)


@pytest.mark.parametrize('kind', KINDS)
def test_a_finished_detector(kind, tmp_path):
    row, _ = results.read_row(write_detector(tmp_path, kind))
    assert (row.config, row.state, row.trained) == (DETECTOR, 'finished', '12 epochs')
    assert row.last == pytest.approx({'box AP': 41.0, 'mask AP': 38.0})
    assert row.best == pytest.approx({'box AP': 42.0, 'mask AP': 39.0})
    assert row.best_at == 11
    assert row.hours == 1
    assert row.device == '8 x NVIDIA H100'
    assert row.versions == 'tinyvim_mm 0.1.0, torch 2.13.0'
    assert row.checkpoint == 'last.pth'
    assert row.sha256 == hashlib.sha256(b'weights').hexdigest()[:8]
    assert row.changes == []


def test_segmentors_and_classifiers_are_scored_in_percent(write, tmp_path):
    work_dirs = [
        write(
            tmp_path / 'seg', SEGMENTOR, [{'mIoU': 38.5, 'aAcc': 80.0, 'step': 40000}], done=40000
        ),
        write(
            tmp_path / 'cls',
            CLASSIFIER,
            [{'accuracy/top1': 79.0, 'accuracy/top5': 94.0, 'step': 300}],
            done=300,
            steps_per_epoch=100,
        ),
    ]
    first, second = (results.read_row(work_dir)[0] for work_dir in work_dirs)
    assert first.state == second.state == 'finished'
    assert first.last == {'mIoU': 38.5}
    assert second.last == {'Top 1 Accuracy': 79.0, 'Top 5 Accuracy': 94.0}


def test_an_interrupted_training_says_how_far_it_came(write, tmp_path):
    kinds = dict(done=250, steps_per_epoch=100, checkpoint=False, state=RUNNING)
    row, _ = results.read_row(write(tmp_path / 'det', DETECTOR, aps(0.1, 0.2), **kinds))
    assert row.state == 'unfinished: 2 of 12 epochs'
    assert row.checkpoint == ''


def test_a_training_that_an_error_stopped_says_which(tmp_path):
    kinds = dict(done=250, steps_per_epoch=100, state=STOPPED, error='OSError: disk\nis full')
    row, _ = results.read_row(write_work_dir(tmp_path, DETECTOR, aps(0.1, 0.2), **kinds))
    assert row.state == 'unfinished: 2 of 12 epochs, stopped by OSError: disk is full'


def test_a_training_that_stopped_before_its_first_loss_says_why(tmp_path):
    kinds = dict(done=50, steps_per_epoch=100, state=STOPPED, error='OSError: no space')
    run = write_work_dir(tmp_path, DETECTOR, **kinds) / '20260102_030000'
    (run / 'vis_data' / 'scalars.json').unlink()
    row, _ = results.read_row(tmp_path)
    assert 'no training log' in row.state
    assert row.state.endswith(f'{run / "run.json"} says why: OSError: no space')


@pytest.mark.parametrize('first', KINDS)
def test_a_resumed_training_is_one_row(first, write, tmp_path):
    kinds = dict(steps_per_epoch=100)
    write_work_dir(tmp_path, DETECTOR, aps(0.1, 0.9, 0.9), done=300, kind=first, **kinds)
    resumed = write(
        tmp_path, DETECTOR, aps(*[0.2] * 12)[1:], done=1200, timestamp='20260103_030000', **kinds
    )
    scalars = resumed / '20260103_030000' / 'vis_data' / 'scalars.json'
    later = [line for line in scalars.read_text().splitlines() if json.loads(line)['step'] != 50]
    scalars.write_text('\n'.join(later))
    row, log = results.read_row(resumed)
    assert row.state == 'finished'
    assert row.hours == 2
    assert [record['step'] for record in log.validations] == list(range(1, 13))
    assert (row.best['box AP'], row.best_at) == (20.0, 2)
    earlier = read_log(tmp_path / '20260102_030000' / 'vis_data' / 'scalars.json')
    assert earlier.done == 3


@pytest.mark.parametrize(
    ('file', 'text', 'words'),
    [
        ('vis_data/scalars.json', '{"loss": 1, "st\n', 'scalars.json, line 1 is no JSON'),
        ('vis_data/scalars.json', '7', 'line 1 is no JSON object'),
        ('vis_data/scalars.json', '', 'no training log'),
        ('vis_data/config.py', 'model = dict(', 'is no config as mmengine dumps it'),
        ('vis_data/config.py', 'model = open("x")', 'is no config as mmengine dumps it'),
        ('vis_data/config.py', 'model = dict()', 'has no train_cfg, train_dataloader'),
        ('20260102_030000.log', 'hello', 'does not begin with the environment'),
        ('run.json', '{"schema": 1, "con', 'run.json cannot be read'),
        ('run.json', '[]', 'run.json is no record of a run: it has no schema'),
        ('run.json', '{"schema": 2}', 'run.json has schema 2, and this version of tinyvim_mm'),
        ('run.json', '{"schema": 1}', 'run.json is no record of a run: config is missing'),
    ],
)
def test_a_damaged_log_is_a_row_that_says_so(file, text, words, tmp_path):
    work_dir = write_detector(tmp_path, 'log' if file.endswith('.log') else 'run.json')
    (work_dir / '20260102_030000' / file).write_text(text)
    row, log = results.read_row(work_dir)
    assert log is None
    assert row.state.startswith('no result: ')
    assert words in row.state
    assert str(work_dir) in results.render([row], 'markdown')


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('done', '12', "done is '12'"),
        ('versions', [], 'versions is []'),
        ('validations', [7], 'a validation has no step'),
        ('validations', [{'mIoU': 1.0}], 'a validation has no step'),
    ],
)
def test_a_record_with_a_wrong_value_is_a_row_that_says_so(field, value, words, detector):
    file = detector / '20260102_030000' / 'run.json'
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    row, _ = results.read_row(detector)
    assert row.state == f'no result: {file} is no record of a run: {words}'


def test_a_run_with_a_record_needs_no_text_log(detector):
    assert not list(detector.rglob('*.log'))


def test_reading_a_log_runs_no_code(detector, tmp_path):
    config = detector / '20260102_030000' / 'vis_data' / 'config.py'
    config.write_text(config.read_text() + f'x = open({str(tmp_path / "made")!r}, "w")\n')
    with pytest.raises(LogError, match='no config'):
        read_log(detector)
    assert not (tmp_path / 'made').exists()


def test_what_was_changed_is_listed(tmp_path):
    changes = {
        'optim_wrapper.optimizer.lr': 1e-4,
        'train_dataloader.num_workers': 9,
        'model.backbone.init_cfg.checkpoint': '/weights/tinyvim_b_300e.pth',
        'train_dataloader.dataset.data_root': '/data/coco/',
    }
    work_dir = write_work_dir(
        tmp_path, DETECTOR, aps(0.1), done=1200, steps_per_epoch=100, changes=changes
    )
    row, _ = results.read_row(work_dir)
    assert row.changes == ['optim_wrapper.optimizer.lr=0.0001']


# -- formats ------------------------------------------------------------------------


@pytest.mark.parametrize('suffix', ['.md', '.csv', '.json'])
def test_formats(suffix, detector, tmp_path, capsys):
    out = tmp_path / f'table{suffix}'
    with pytest.raises(SystemExit) as caught:  # the table is written all the same
        collect.main([str(detector), str(tmp_path / 'gone'), '--out', str(out)])
    assert caught.value.code == 3
    text = out.read_text()
    if suffix == '.json':
        first, second = json.loads(text)
        assert first['last']['box AP'] == pytest.approx(41)
        assert second['state'].startswith('no result: there is no folder')
        return
    if suffix == '.csv':
        rows = list(csv.DictReader(text.splitlines()))
    else:
        head, _, *lines = ([c.strip() for c in line.split('|')[1:-1]] for line in text.splitlines())
        rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert [row['last score'] for row in rows] == ['box AP 41.0, mask AP 38.0', '']
    assert rows[0]['best score'] == 'box AP 42.0, mask AP 39.0 (at 11)'
    assert 'there is no folder' in rows[1]['state']


def test_a_network_that_found_nothing_has_no_score(tmp_path):
    # mmdet leaves the key out.
    scores = [*aps(0.1), {'coco/other': 0.0, 'step': 12}]
    work_dir = write_work_dir(tmp_path, DETECTOR, scores, done=1200, steps_per_epoch=100)
    row, _ = results.read_row(work_dir)
    assert row.best['box AP'] == pytest.approx(10)
    assert json.loads(results.render([row], 'json'))[0]['last']['box AP'] is None
    assert 'box AP nan' in results.render([row], 'markdown')


def test_the_exit_code_says_whether_anything_was_read(detector, tmp_path, capsys):
    collect.main([str(detector)])
    with pytest.raises(SystemExit) as caught:
        collect.main([str(tmp_path / 'nonsense')])
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert 'nonsense' in captured.out
    assert '1 of 1 trainings could not be read' in captured.err


def test_an_unknown_ending(detector, capsys):
    with pytest.raises(SystemExit):
        collect.main([str(detector), '--out', 'table.xls'])
    assert 'must end in .md, .csv, .json' in capsys.readouterr().err


# -- metafiles ----------------------------------------------------------------------


@pytest.fixture
def metafile(tmp_path, monkeypatch):
    """A copy of mmdet's metafile, which is written instead of it."""
    config = find_config(DETECTOR)
    folder = tmp_path / 'configs'
    folder.mkdir()
    copied = folder / config.name
    (folder / 'metafile.yml').write_text((config.parent / 'metafile.yml').read_text())
    monkeypatch.setattr(results, 'recipe_of', lambda log: copied)
    return folder / 'metafile.yml'


def entry(path):
    (found,) = (e for e in yaml.safe_load(path.read_text())['Models'] if e['Name'] == DETECTOR)
    return found


def test_measured_results_stand_beside_the_published(detector, metafile):
    before = entry(metafile)
    for _ in range(2):  # the second time replaces what the first one wrote
        collect.main([str(detector), '--write-metafile'])
    after = entry(metafile)
    published, measured = after['Results'][:2], after['Results'][2:]
    assert published == before['Results']
    assert {r['Task']: r['Metrics'] for r in measured} == {
        'Object Detection': {'box AP': 41.0},
        'Instance Segmentation': {'mask AP': 38.0},
    }
    digits = hashlib.sha256(b'weights').hexdigest()[:8]
    for result in measured:
        assert result['Dataset'] == 'COCO'
        assert result['Note'].startswith(f'{metafiles.MEASURED}: last checkpoint, last.pth')
        assert digits in result['Note']
        assert '8 x NVIDIA H100' in result['Note']
    assert {key: after[key] for key in before if key != 'Results'} == {
        key: before[key] for key in before if key != 'Results'
    }


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (dict(done=300), 'unfinished: 3 of 12 epochs'),
        (dict(changes={'train_cfg.max_epochs': 1}), 'it is not what .* says: train_cfg.max_epochs'),
        (dict(checkpoint=False), 'the checkpoint that the scores belong to is not there'),
        (dict(validations=[]), 'no scores of a validation'),
        (
            dict(changes={'train_dataloader.dataset.data_root': 'data/sample/coco/'}),
            'finished, on the sample photographs',
        ),
    ],
    ids=['unfinished', 'shorter', 'no-checkpoint', 'no-scores', 'sample'],
)
def test_what_must_not_stand_in_a_metafile(arguments, words, tmp_path, metafile, capsys):
    before = metafile.read_text()
    kinds = dict(validations=aps(0.4), done=1200, steps_per_epoch=100)
    work_dir = write_work_dir(tmp_path / 'det', DETECTOR, **{**kinds, **arguments})
    with pytest.raises(SystemExit):
        collect.main([str(work_dir), '--write-metafile'])
    assert re.search(words, capsys.readouterr().err)
    assert metafile.read_text() == before
