"""Training, interruption, resumption, evaluation and inference, through the tools themselves."""

import json
import pickle

import pytest

pytest.importorskip('mmseg')

import numpy as np
import torch
from mmengine.runner.loops import _InfiniteDataloaderIterator
from tool_runs import run_sample, whole_and_parts

from tinyvim_mm.commands import test as test_tool
from tinyvim_mm.core.environment import accelerator
from tinyvim_mm.core.paths import SAMPLE_ADE
from tinyvim_mm.records.scalars import read_training
from tinyvim_mm.weights.files import load_file

CONFIG = 'fpn_tinyvim_s_40k_ade20k'
PHOTOGRAPH = SAMPLE_ADE / 'images' / 'validation' / '000000119828.jpg'
TINY = [
    'train_dataloader.dataset.pipeline.2.scale=(128,64)',
    'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
    'model.data_preprocessor.size=(64,64)',
    'train_dataloader.dataset.indices=4',
    'test_dataloader.dataset.pipeline.1.scale=(128,64)',
    'test_dataloader.dataset.indices=2',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.checkpoint.save_last=False',
    'default_hooks.logger.interval=1',
    'log_processor.window_size=1',
]
# mmengine 0.10.7 loads the batches before the interruption again, which draws random numbers.
RESUMES_EXACTLY = accelerator() is None and hasattr(_InfiniteDataloaderIterator, 'skip_iter')


def run(main, *argv, options=()):
    run_sample(main, CONFIG, *argv, options=[*TINY, *options])


@pytest.fixture(scope='module')
def work_dirs(tmp_path_factory):
    """Four iterations."""
    folder = tmp_path_factory.mktemp('work_dirs')
    yield from whole_and_parts(run, folder, 'train_cfg.max_iters=2', 'train_cfg.max_iters=4')


def test_a_resumed_training_repeats_the_uninterrupted_one(work_dirs):
    whole, parts = (read_training(work_dirs / name) for name in ('whole', 'parts'))
    assert [record['step'] for record in whole] == [1, 2, 3, 4]
    assert [record['step'] for record in parts] == [1, 2, 3, 4]
    assert len({record['loss'] for record in whole}) == 4
    tolerance = 0 if RESUMES_EXACTLY else 0.5
    for expected, got in zip(whole, parts, strict=True):
        assert got['lr'] == expected['lr']
        for name in ('loss', 'decode.loss_ce'):
            assert got[name] == pytest.approx(expected[name], rel=tolerance, abs=0), name
    if RESUMES_EXACTLY:
        weights = [load_file(str(work_dirs / name / 'iter_4.pth')) for name in ('whole', 'parts')]
        first, second = (checkpoint['state_dict'] for checkpoint in weights)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_every_part_is_trained_by_every_step(work_dirs):
    state = load_file(str(work_dirs / 'whole' / 'iter_4.pth'))['optimizer']['state']
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
    for split in ('training', 'validation'):
        found = metrics['metrics'][split]
        assert found['photographs'] == 2
        assert 0 <= found['mIoU'] <= 100
        assert 0 <= found['aAcc'] <= 100
    for picture in ('predictions.png', 'loss_curves.png'):
        assert (folder / picture).stat().st_size > 20_000


def test_a_checkpoint_is_evaluated(work_dirs, capsys):
    folder = work_dirs / 'tested'
    checkpoint = work_dirs / 'whole' / 'iter_4.pth'
    shown = work_dirs / 'shown'
    run(
        test_tool.main,
        checkpoint,
        *('--work-dir', folder, '--out', folder / 'found.pkl', '--show-dir', shown),
    )
    output = capsys.readouterr()
    words = output.out + output.err
    assert '2 photographs the network was trained on (training): mIoU' in words
    assert '2 photographs the network has not seen (validation): mIoU' in words
    assert 'of the labeled pixels right' in words
    assert (folder / 'predictions.png').is_file()
    names = {path.name.split('.')[0] for path in shown.rglob('test_*.png')}
    assert names >= {'test_000000119828', 'test_000000160012'}
    with open(folder / 'found.pkl', 'rb') as file:
        assert len(pickle.load(file)) == 2
    # The same weights on the same photographs score the same.
    trained = json.loads((work_dirs / 'whole' / 'metrics.json').read_text())
    assert json.loads((folder / 'metrics.json').read_text())['metrics'] == trained['metrics']


def test_inference_on_one_photograph(work_dirs):
    import mmcv
    from mmseg.apis import inference_model, init_model

    config = next((work_dirs / 'whole').glob('*.py'))
    model = init_model(str(config), str(work_dirs / 'whole' / 'iter_4.pth'), device='cpu')
    found = inference_model(model, str(PHOTOGRAPH))
    image = mmcv.imread(str(PHOTOGRAPH))
    assert found.pred_sem_seg.data.shape == (1, *image.shape[:2])
    assert found.seg_logits.data.shape == (150, *image.shape[:2])
    assert torch.equal(found.seg_logits.data.argmax(0), found.pred_sem_seg.data[0])
    assert len(model.dataset_meta['classes']) == 150
    again = inference_model(model, image).pred_sem_seg.data
    assert torch.equal(again, found.pred_sem_seg.data)
    noise = np.random.default_rng(0).integers(0, 255, image.shape, np.uint8)
    assert not torch.equal(inference_model(model, noise).seg_logits.data, found.seg_logits.data)
