"""Training, interruption, resumption, evaluation and inference of a classifier."""

import json
import pickle

import pytest

pytest.importorskip('mmpretrain.models')

import torch
from tool_runs import run_sample, whole_and_parts

from tinyvim_mm.commands import test as test_tool
from tinyvim_mm.core.environment import accelerator
from tinyvim_mm.core.paths import SAMPLE_IMAGENET
from tinyvim_mm.records.results import read_row
from tinyvim_mm.records.scalars import read_training
from tinyvim_mm.weights.files import load_file

CONFIG = 'tinyvim_s_300e_in1k'
CLASSES = sorted(folder.name for folder in (SAMPLE_IMAGENET / 'train').iterdir())
TINY = [
    'train_dataloader.dataset.pipeline.1.scale=64',
    'train_dataloader.dataset.indices=4',
    'train_dataloader.batch_size=2',
    'test_dataloader.dataset.pipeline.1.scale=71',
    'test_dataloader.dataset.pipeline.2.crop_size=64',
    'test_dataloader.dataset.indices=3',
    'param_scheduler.1.end=6',
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
    assert [record['step'] for record in parts] == [1, 2, 3, 4]
    # Bit by bit on a CPU; sums on an accelerator have no fixed order.
    tolerance = 0 if accelerator() is None else 1e-2
    for expected, got in zip(whole, parts, strict=True):
        for name in ('lr', 'loss'):
            assert got[name] == pytest.approx(expected[name], rel=tolerance, abs=tolerance), name
    if tolerance == 0:
        paths = [work_dirs / name / 'epoch_2.pth' for name in ('whole', 'parts')]
        first, second = (load_file(str(path)) for path in paths)
        for part in ('state_dict', 'ema_state_dict'):
            assert first[part].keys() == second[part].keys()
            assert all(torch.equal(first[part][key], second[part][key]) for key in first[part])


def test_the_checkpoint_holds_the_moving_average_beside_the_weights(work_dirs):
    checkpoint = load_file(str(work_dirs / 'whole' / 'epoch_2.pth'))
    average, weights = checkpoint['state_dict'], checkpoint['ema_state_dict']
    assert int(weights['steps']) == 4
    key = 'backbone.stages.0.blocks.0.mlp.fc1.conv.weight'
    assert not torch.equal(average[key], weights[f'module.{key}'])
    assert not any('teacher' in key or 'dist_head' in key for key in average)
    assert checkpoint['meta']['dataset_meta']['classes'] == CLASSES


def test_a_training_ends_with_scores_and_pictures(work_dirs):
    metrics = json.loads((work_dirs / 'parts' / 'metrics.json').read_text())
    assert metrics['config'] == CONFIG
    assert metrics['steps'] == 4
    assert metrics['started_from'] == 'random weights'
    assert {split: found['photographs'] for split, found in metrics['metrics'].items()} == {
        'train': 3,
        'val': 3,
    }
    for picture in ('predictions.png', 'loss_curves.png'):
        assert (work_dirs / 'parts' / picture).stat().st_size > 20_000


def test_the_scores_of_a_sample_run_are_in_its_row(work_dirs):
    row, _ = read_row(work_dirs / 'whole')
    metrics = json.loads((work_dirs / 'whole' / 'metrics.json').read_text())['metrics']
    assert row.state == 'finished, on the sample photographs'
    assert row.last['Top 1 Accuracy'] == metrics['val']['accuracy/top1']


def test_a_checkpoint_is_evaluated(work_dirs, capsys):
    folder = work_dirs / 'tested'
    checkpoint = work_dirs / 'whole' / 'epoch_2.pth'
    options = ['--work-dir', folder, '--out', folder / 'found.pkl', '--show-dir', folder / 'shown']
    run(test_tool.main, checkpoint, *options)
    output = capsys.readouterr()
    words = output.out + output.err
    assert '3 photographs the network was trained on (train): ' in words
    assert '3 photographs the network has not seen (val): ' in words
    assert (folder / 'predictions.png').is_file()
    assert len(list((folder / 'shown').glob('*.png'))) == 6
    trained = json.loads((work_dirs / 'whole' / 'metrics.json').read_text())
    tested = json.loads((folder / 'metrics.json').read_text())
    assert tested['metrics'] == trained['metrics']
    with open(folder / 'found.pkl', 'rb') as file:
        found = pickle.load(file)
    assert [len(sample['pred_score']) for sample in found] == [len(CLASSES)] * 3


def test_a_picture_is_classified(work_dirs):
    from mmpretrain import ImageClassificationInferencer

    config = work_dirs / 'whole' / f'{CONFIG}.py'
    picture = sorted((SAMPLE_IMAGENET / 'val' / 'dog').iterdir())[0]
    inferencer = ImageClassificationInferencer(
        str(config), pretrained=str(work_dirs / 'whole' / 'epoch_2.pth'), device='cpu'
    )
    (found,) = inferencer(str(picture), show_dir=str(work_dirs / 'classified'))
    assert found['pred_scores'].sum() == pytest.approx(1, abs=1e-5)
    assert found['pred_class'] == CLASSES[found['pred_scores'].argmax()]
    assert (work_dirs / 'classified' / f'{picture.stem}.png').is_file()
    weights = load_file(str(work_dirs / 'whole' / 'epoch_2.pth'))['state_dict']
    assert torch.equal(inferencer.model.state_dict()['head.head.bias'], weights['head.head.bias'])
