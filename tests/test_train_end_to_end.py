"""Training, interruption, resumption and evaluation, through the tools themselves."""

import json
import pickle

import pytest

pytest.importorskip('mmdet')

import torch
from tool_runs import run_sample, whole_and_parts

import tinyvim_mm
from tinyvim_mm.commands import test as test_tool
from tinyvim_mm.commands import train
from tinyvim_mm.core.environment import accelerator
from tinyvim_mm.records.costs import measure
from tinyvim_mm.records.results import read_row
from tinyvim_mm.records.run_record import read_record
from tinyvim_mm.records.scalars import read_training
from tinyvim_mm.weights.files import load_file

CONFIG = 'mask_rcnn_tinyvim_s_1x_coco'
TINY = [
    'train_dataloader.dataset.dataset.pipeline.2.scale=(160,96)',
    'train_dataloader.dataset.dataset.indices=4',
    'train_dataloader.dataset.times=1',
    'test_dataloader.dataset.pipeline.1.scale=(160,96)',
    'test_dataloader.dataset.indices=2',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.logger.interval=1',
    'log_processor.window_size=1',
]


def run(main, *argv, options=()):
    run_sample(main, CONFIG, *argv, options=[*TINY, *options])


@pytest.fixture(scope='module')
def work_dirs(tmp_path_factory):
    """Two epochs of two steps."""
    folder = tmp_path_factory.mktemp('work_dirs')
    yield from whole_and_parts(run, folder, 'train_cfg.max_epochs=1', 'train_cfg.max_epochs=2')


def test_a_resumed_training_repeats_the_uninterrupted_one(work_dirs):
    whole, parts = (read_training(work_dirs / name) for name in ('whole', 'parts'))
    losses = [name for name in whole[0] if 'loss' in name]
    assert len(losses) == 6
    assert [record['step'] for record in parts] == [1, 2, 3, 4]
    # Bit by bit on a CPU; sums on an accelerator have no fixed order.
    tolerance = 0 if accelerator() is None else 1e-2
    for expected, got in zip(whole, parts, strict=True):
        for name in ('lr', *losses):
            assert got[name] == pytest.approx(expected[name], rel=tolerance, abs=tolerance), name
    if tolerance == 0:
        weights = [load_file(str(work_dirs / name / 'epoch_2.pth')) for name in ('whole', 'parts')]
        first, second = (checkpoint['state_dict'] for checkpoint in weights)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_steps_change_the_weights_of_every_part(work_dirs):
    # One checkpoint is kept, so the first epoch of 'whole' is gone: compare
    # with a fresh optimizer state instead.
    checkpoint = load_file(str(work_dirs / 'whole' / 'epoch_2.pth'))
    state = checkpoint['optimizer']['state']
    assert state
    assert all(float(entry['step']) == 4 for entry in state.values())
    moved = [bool(entry['exp_avg'].abs().sum() > 0) for entry in state.values()]
    assert sum(moved) > 0.95 * len(moved)


def test_a_training_ends_with_scores_and_pictures(work_dirs):
    folder = work_dirs / 'parts'
    metrics = json.loads((folder / 'metrics.json').read_text())
    assert metrics['config'] == CONFIG
    assert metrics['steps'] == 4
    assert metrics['started_from'] == 'random weights'
    assert {split: found['photographs'] for split, found in metrics['metrics'].items()} == {
        'train2017': 2,
        'val2017': 2,
    }
    for picture in ('predictions.png', 'loss_curves.png'):
        assert (folder / picture).stat().st_size > 20_000


def test_the_log_of_a_resumed_training_is_a_row_of_a_table(work_dirs):
    row, log = read_row(work_dirs / 'parts')
    assert (row.config, row.trained) == (CONFIG, '2 epochs')
    assert row.state == 'finished, on the sample photographs'
    assert (row.checkpoint, len(row.sha256)) == ('epoch_2.pth', 8)
    # CUDA wheels have no +cu130 in their name.
    assert f'torch {torch.__version__.partition("+")[0]}' in row.versions
    assert f'tinyvim_mm {tinyvim_mm.__version__}' in row.versions
    assert (log.devices, log.steps_per_epoch, log.batch_size) == (1, 2, 2)
    assert (log.device == 'CPU') == (accelerator() is None)
    assert row.hours > 0
    assert measure(log).seconds > 0


def test_each_run_left_its_record(work_dirs):
    folder = work_dirs / 'parts'
    first, second = (read_record(file.parent) for file in sorted(folder.glob('*/run.json')))
    assert first.state == second.state == 'finished'
    assert (first.config, first.config_path, first.sample) == (CONFIG, CONFIG, True)
    assert first.options['train_cfg.max_epochs'] == 1
    assert (first.done, first.length, first.steps, first.resumed_from) == (1, 1, 2, None)
    assert (second.done, second.length, second.steps) == (2, 2, 4)
    assert second.resumed_from.endswith('epoch_1.pth')
    assert second.checkpoints == ['epoch_2.pth']
    assert len(second.scan_backends) == 1
    assert set(second.versions) == {'tinyvim_mm', 'torch', 'mmengine', 'mmcv', 'mmdet'}


def test_a_checkpoint_is_evaluated(work_dirs, capsys):
    folder = work_dirs / 'tested'
    checkpoint = work_dirs / 'whole' / 'epoch_2.pth'
    run(test_tool.main, checkpoint, '--work-dir', folder, '--out', folder / 'found.pkl')
    output = capsys.readouterr()
    words = output.out + output.err
    assert '2 photographs the network was trained on (train2017): box AP' in words
    assert '2 photographs the network has not seen (val2017): box AP' in words
    assert f'predictions beside ground truth: {folder.name}/predictions.png' in words
    assert (folder / 'predictions.png').is_file()
    with open(folder / 'found.pkl', 'rb') as file:
        assert len(pickle.load(file)) == 2


@pytest.mark.parametrize(
    ('main', 'option'), [(test_tool.main, ()), (train.main, ('--resume',))], ids=['test', 'resume']
)
def test_a_checkpoint_of_another_model_gives_no_scores(main, option, work_dirs, capsys):
    checkpoint = work_dirs / 'whole' / 'epoch_2.pth'
    other = ['model.roi_head.bbox_head.num_classes=3', 'model.roi_head.mask_head.num_classes=3']
    with pytest.raises(SystemExit) as caught:
        run(main, *option, checkpoint, '--work-dir', work_dirs / 'other', options=other)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert f'{checkpoint} does not fit the model of the config (MaskRCNN)' in error
    assert '6 of another shape: roi_head.bbox_head.fc_cls.weight is (81, 1024) in the' in error
