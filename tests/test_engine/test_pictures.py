import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('mmengine')

import matplotlib.image

from tinyvim_mm.records.scalars import read_scalars, read_training
from tinyvim_mm.visualization.curves import loss_parts, plot_training, smooth
from tinyvim_mm.visualization.sheet import Row, save_sheet


def write_run(work_dir, name, losses):
    folder = work_dir / name / 'vis_data'
    folder.mkdir(parents=True)
    lines = [
        json.dumps(dict(lr=0.1, loss=loss, loss_cls=loss / 2, loss_box=loss / 2, step=step))
        for step, loss in losses.items()
    ]
    lines.append(json.dumps({'coco/bbox_mAP': 0.1, 'step': 1}))
    (folder / 'scalars.json').write_text('\n'.join(lines) + '\n')


def test_a_resumed_run_continues_the_curve(tmp_path):
    write_run(tmp_path, '20260101_000000', {1: 9.0, 2: 8.0, 3: 99.0})
    write_run(tmp_path, '20260102_000000', {3: 7.0, 4: 6.0})
    write_run(tmp_path, '20260103_000000', {})  # a test run
    assert [(r['step'], r['loss']) for r in read_training(tmp_path)] == [
        (1, 9.0),
        (2, 8.0),
        (3, 7.0),
        (4, 6.0),
    ]


def test_a_new_run_in_the_same_folder_starts_anew(tmp_path):
    write_run(tmp_path, '20260101_000000', {1: 9.0, 2: 8.0, 3: 7.0})
    write_run(tmp_path, '20260102_000000', {1: 5.0})
    assert [r['loss'] for r in read_training(tmp_path)] == [5.0]


def test_no_log_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no training log in .*vis_data/scalars\.json'):
        read_training(tmp_path)


def test_a_training_too_short_for_a_log_is_reported_without_its_losses(tmp_path, monkeypatch):
    from tinyvim_mm.training import report

    monkeypatch.setattr(report, '_config_name', lambda runner: 'a config')
    runner = SimpleNamespace(work_dir=tmp_path)
    assert report._losses(runner, 'x') == (None, tmp_path / 'loss_curves.png')
    write_run(tmp_path, '20260101_000000', {1: 9.0, 2: 8.0})
    losses, picture = report._losses(runner, 'x')
    assert losses == [9.0, 8.0]
    assert picture.is_file()


def test_a_damaged_line_is_named(tmp_path):
    file = tmp_path / 'scalars.json'
    file.write_text('{"loss": 1.0, "step": 1}\n{"loss": 1.\n')
    with pytest.raises(ValueError, match=r'scalars\.json, line 2 is no JSON'):
        read_scalars(file)


@pytest.mark.parametrize('end', [b'{"loss": 1., "st', b'\0\0\0\0', b'{"\xc3'])
def test_a_line_that_is_cut_off_is_left_out(end, tmp_path):
    file = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"loss": 1.0, "step": 1}\n{"loss": 2.0, "step": 2}\n' + end)
    with pytest.warns(UserWarning, match=r'scalars\.json, line 3 is cut off .* the 2 before it'):
        assert [r['loss'] for r in read_training(tmp_path)] == [1.0, 2.0]


def test_a_last_line_without_an_end_is_whole(tmp_path):
    file = tmp_path / 'scalars.json'
    file.write_text('{"loss": 1.0, "step": 1}')
    assert len(read_scalars(file)) == 1


def test_smoothing_keeps_constants_and_damps_noise():
    assert smooth([3.0] * 5) == pytest.approx([3.0] * 5)
    noisy = [1.0, -1.0] * 20
    assert np.std(smooth(noisy)) < 0.5 * np.std(noisy)
    assert smooth([]) == []


def test_curves_are_drawn(tmp_path):
    write_run(tmp_path, '20260101_000000', {step: 10 / step for step in range(1, 30)})
    records = read_training(tmp_path)
    assert loss_parts(records) == ['loss_cls', 'loss_box']
    file = plot_training(records, tmp_path / 'new' / 'curves.png', 'a title')
    picture = matplotlib.image.imread(file)
    assert picture.shape[0] > 500
    assert picture.std() > 0.05


def test_a_sheet_shows_all_pictures(tmp_path):
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200), (200, 0, 200)]
    tiles = [np.full((40, 60, 3), color, np.uint8) for color in colors]
    rows = [Row(tiles[i], tiles[i + 1], 'truth', 'prediction') for i in (0, 2, 4)]
    file = save_sheet(rows, tmp_path / 'sheet.png', 'a title', columns=2)
    picture = (matplotlib.image.imread(file)[..., :3] * 255).round().astype(int)
    for color in colors:
        assert (picture == color).all(-1).sum() > 1000


def test_an_empty_sheet_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='at least one photograph'):
        save_sheet([], tmp_path / 'sheet.png', 'a title')


@pytest.mark.parametrize('only', [{}, {'decode.loss_ce': 1.0}])
def test_a_single_loss_is_drawn_once(tmp_path, only):
    records = [dict(step=step, lr=0.1, loss=1.0, **only) for step in range(5)]
    one = matplotlib.image.imread(plot_training(records, tmp_path / 'one.png', 'a title'))
    several = [dict(record, loss_a=0.5, loss_b=0.5) for record in records]
    two = matplotlib.image.imread(plot_training(several, tmp_path / 'two.png', 'a title'))
    assert one.shape[0] < two.shape[0]
