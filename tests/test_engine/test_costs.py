"""What a training costs, from the times in its log."""

import pytest
from recorded_logs import KINDS, write_work_dir

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from tinyvim_mm.commands import cost

DETECTOR = 'mask_rcnn_tinyvim_b_1x_coco'
SEGMENTOR = 'fpn_tinyvim_s_40k_ade20k'


@pytest.fixture(params=KINDS)
def started(request, tmp_path):
    """The first 300 steps on COCO, on one GPU: 2 images in half a second."""
    kinds = dict(done=300, steps_per_epoch=58633, devices=1, kind=request.param)
    return write_work_dir(tmp_path, DETECTOR, **kinds)


def table(capsys, *arguments):
    """Cells by the number of devices, and all words."""
    cost.main([str(argument) for argument in arguments])
    words = capsys.readouterr().out
    lines = [line for line in words.splitlines() if line.startswith('| ')]
    head, _, *rows = ([cell.strip() for cell in line.split('|')[1:-1]] for line in lines)
    return {int(row[0]): dict(zip(head, row, strict=True)) for row in rows}, words


def test_a_1x_schedule_on_coco(started, capsys):
    rows, words = table(capsys, started, '--price-per-gpu-hour', '2')
    # 12 epochs of 117,266 images, 4 a second.
    hours = 12 * 117266 / 4 / 3600
    assert rows[1]['hours'] == rows[1]['device-hours'] == f'{hours:.1f}'
    assert rows[8]['hours'] == f'{hours / 8:.1f}'
    assert rows[8]['steps'] == '87,960'
    assert rows[8]['images each'] == '2'
    assert rows[8]['cost'] == f'{2 * hours:.2f}'
    assert '16 images cannot be divided: give --batch-per-gpu' in rows[64]['images each']
    assert '0.500 s a step, 0.100 s of it waiting for data' in words  # without the warm-up
    assert '4.00 images a second' in words
    assert 'MEASURED' not in words


def test_a_batch_of_each_device(started, capsys):
    rows, words = table(capsys, started, '--batch-per-gpu', '2')
    assert rows[64]['steps'] == f'{12 * 917:,}'
    assert 'the learning rate is for a batch of 16' in words


def test_efficiency_counts_beyond_what_was_measured(started, capsys):
    rows, words = table(capsys, started, '--efficiency', '0.5')
    assert float(rows[8]['hours']) == pytest.approx(float(rows[1]['hours']) / 4, abs=0.1)
    assert 'each has 0.5 of its throughput' in words


def test_iterations_are_of_the_batch_of_the_recipe(tmp_path, capsys):
    work_dir = write_work_dir(tmp_path, SEGMENTOR, done=200, devices=1, time=1.0)
    rows, words = table(capsys, work_dir)
    assert '40,000 iterations of 32 images' in words
    assert rows[8]['steps'] == '40,000'
    assert rows[8]['hours'] == f'{40000 * 32 / 4 / 8 / 3600:.1f}'


@pytest.mark.parametrize('kind', KINDS)
def test_a_cpu_and_the_sample_are_marked(kind, tmp_path, capsys):
    changes = {
        'train_cfg.max_epochs': 1,
        'train_dataloader.dataset.data_root': 'data/sample/coco/',
    }
    kinds = dict(done=100, steps_per_epoch=36, devices=1, gpu=None, changes=changes, kind=kind)
    work_dir = write_work_dir(tmp_path, DETECTOR, **kinds)
    _, words = table(capsys, work_dir)
    assert 'MEASURED ON A CPU' in words
    assert 'MEASURED WITH --sample' in words
    assert '12 epochs of 117,266 images' in words


def test_another_schedule_than_the_measured(started, capsys):
    _, words = table(capsys, started, '--config', 'rtmdet_ins_tinyvim_b_300e_coco')
    assert '300 epochs of 117,266 images' in words


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['gone'], 'there is no folder gone'),
        (['.', '--efficiency', '2'], 'is not between 0 and 1'),
        (['.', '--batch-per-gpu', '0'], '0 is less than 1'),
    ],
)
def test_errors(arguments, words, capsys, started, monkeypatch):
    monkeypatch.chdir(started)
    with pytest.raises(SystemExit) as caught:
        cost.main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
