"""``tools/export.py`` from a config to a file, and the file on pictures without torch."""

import subprocess
import sys

import numpy as np
import pytest
import tiny_export as tiny
import torch
from PIL import Image

pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')
pytest.importorskip('onnx', reason='the export to ONNX needs onnx')
pytest.importorskip('onnxruntime', reason='ONNX files run in onnxruntime')

from tinyvim_mm.commands import export as tool
from tinyvim_mm.core.paths import CONFIG_ROOT, PROJECT_ROOT
from tinyvim_mm.export import runtime
from tinyvim_mm.export.metadata import Metadata, MetadataError

PHOTOS = PROJECT_ROOT / 'data' / 'sample' / 'imagenet' / 'val'
PHOTO = sorted(PHOTOS.rglob('*.jpg'))[0]
CLASSIFIER = f"""
_base_ = '{CONFIG_ROOT}/mmpretrain/tinyvim_s_300e_in1k.py'
model = dict(
    backbone=dict(arch={dict(tiny.ARCH, _delete_=True)}),
    head=dict(in_channels=24, num_classes=7),
)
test_dataloader = dict(dataset=dict(metainfo=dict(classes=list('abcdefg'))))
"""
SEGMENTOR = f"""
_base_ = '{CONFIG_ROOT}/mmseg/fpn_tinyvim_s_40k_ade20k.py'
model = dict(
    backbone=dict(arch={dict(tiny.ARCH, _delete_=True)}),
    neck=dict(in_channels=[8, 8, 16, 24], out_channels=16),
    decode_head=dict(in_channels=[16] * 4, channels=16),
)
"""


def config(folder, text):
    path = folder / 'tiny.py'
    path.write_text(text)
    return str(path)


def message(capsys, *argv):
    with pytest.raises(SystemExit) as caught:
        tool.main([str(arg) for arg in argv])
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp('classifier')
    path = folder / 'c.onnx'
    tool.main(
        [config(folder, CLASSIFIER), '--out', str(path), '--input-size', '96', '96']
        + ['--rounds', '1', '--output', 'probabilities']
    )
    return path


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory):
    folder = tmp_path_factory.mktemp('segmentor')
    path = folder / 's.onnx'
    tool.main(
        [config(folder, SEGMENTOR), '--out', str(path), '--input-size', '96', '128']
        + ['--rounds', '0', '--dynamic-size']
    )
    return path


def test_the_report(tmp_path, capsys):
    out = tmp_path / 'c.onnx'
    argv = [config(tmp_path, CLASSIFIER), '--out', out, '--input-size', 64, 64, '--rounds', 1]
    argv += ['--int8', 'static', '--calibration', PHOTOS]
    tool.main([str(arg) for arg in argv])
    report = capsys.readouterr().out
    assert 'the weights are random' in report
    assert '1 x 64 x 64: relative error against PyTorch' in report
    assert '3 x 64 x 64: relative error against the training form' in report
    assert '% of the top-1 labels agree' in report
    assert all(f'\n  {name} ' in report for name in ('PyTorch eager', 'c.onnx', 'c.int8.onnx'))
    assert runtime.Runner(tmp_path / 'c.int8.onnx').classify(PHOTO)


def test_a_file_that_deviates_is_refused(tmp_path, monkeypatch, capsys):
    from tinyvim_mm.export import check

    monkeypatch.setattr(check, 'TOLERANCE', 1e-12)
    argv = [config(tmp_path, CLASSIFIER), '--out', f'{tmp_path}/c.onnx', '--input-size', '64', '64']
    with pytest.raises(SystemExit) as caught:
        tool.main(argv)
    assert caught.value.code == 1
    assert 'deviates from PyTorch' in capsys.readouterr().err


def test_weights_of_a_checkpoint(tmp_path):
    from mmengine.registry import MODELS, init_default_scope

    from tinyvim_mm.recipes.configs import load_config

    path = tmp_path / 'tiny.py'
    config(tmp_path, CLASSIFIER)
    cfg = load_config(path)
    init_default_scope('mmpretrain')
    model = tiny.randomize(MODELS.build(cfg.model))
    meta = {'dataset_meta': {'classes': ['one', *'bcdefg']}}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, tmp_path / 'w.pth')
    out = tmp_path / 'c.onnx'
    argv = [path, '--checkpoint', tmp_path / 'w.pth', '--out', out, '--input-size', 64, 64]
    tool.main([str(arg) for arg in [*argv, '--rounds', 0]])
    runner = runtime.Runner(out)
    images = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)
    expected = model(torch.from_numpy(images), mode='tensor')
    expected = expected[0] if isinstance(expected, tuple) else expected
    np.testing.assert_allclose(runner(images)[0], expected.numpy(), rtol=1e-3, atol=1e-4)
    assert runner.metadata.weights == 'w.pth'
    assert runner.metadata.classes[0] == 'one'


def test_metadata_of_a_classifier(classifier):
    meta = runtime.Runner(classifier).metadata
    assert (meta.config, meta.part, meta.output) == ('tiny', 'classifier', 'probabilities')
    assert meta.mean == (123.675, 116.28, 103.53)
    assert meta.input_size == (96, 96)
    assert meta.resize == (106,)  # 248 of 224, in proportion
    assert (meta.interpolation, meta.classes) == ('bicubic', tuple('abcdefg'))


def test_preprocessing_is_that_of_the_config(classifier):
    from mmcv.transforms import Compose
    from mmengine.registry import init_default_scope
    from mmpretrain.models import ClsDataPreprocessor
    from mmpretrain.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope('mmpretrain')
    steps = Compose(
        [
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=106, edge='short', backend='pillow')
            | dict(interpolation='bicubic'),
            dict(type='CenterCrop', crop_size=96),
            dict(type='PackInputs'),
        ]
    )
    packed = steps(dict(img_path=str(PHOTO)))
    normalize = ClsDataPreprocessor(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
    )
    expected = normalize({'inputs': packed['inputs'][None]})['inputs'].numpy()
    actual = runtime.Runner(classifier).preprocess(PHOTO)
    assert actual.shape == expected.shape
    # Both round when they resize and crop, not always to the same side.
    assert np.abs(actual - expected).mean() < 0.05


def test_classes_of_a_picture(classifier):
    best = runtime.Runner(classifier).classify(PHOTO, top=7)
    assert sorted(name for _, name, _ in best) == list('abcdefg')
    scores = [score for _, _, score in best]
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert scores == sorted(scores, reverse=True)


def test_labels_of_a_picture(segmentor):
    runner = runtime.Runner(segmentor)
    assert len(runner.metadata.classes) == 150
    assert (runner.metadata.resize, runner.metadata.divisor) == ((2048, 512), 32)
    picture = Image.open(PHOTO).resize((131, 97))
    labels = runner.segment(picture)
    assert labels.shape == (97, 131)
    assert 0 <= labels.min() <= labels.max() < 150


def test_a_size_that_a_file_does_not_take(classifier, segmentor):
    with pytest.raises(ValueError, match='96 x 96 pixels, got 64 x 96'):
        runtime.Runner(classifier)(np.zeros((1, 3, 64, 96), np.float32))
    with pytest.raises(ValueError, match='export with --input-size 8192 8192'):
        runtime.Runner(segmentor)(np.broadcast_to(np.float32(0), (1, 3, 8192, 8192)))
    with pytest.raises(ValueError, match='holds the classifier of tiny, not a segmentor'):
        runtime.Runner(classifier).segment(PHOTO)


def test_files_run_without_torch(classifier, segmentor):
    code = (
        'import sys\n'
        "for name in ('torch', 'mmengine', 'mmcv', 'mmseg', 'mmpretrain'): sys.modules[name]=None\n"
        'from tinyvim_mm.export.runtime import Runner\n'
        f'print(len(Runner({str(classifier)!r}).classify({str(PHOTO)!r}, top=7)))\n'
        f'print(Runner({str(segmentor)!r}).segment({str(PHOTO)!r}).ndim)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.split() == ['7', '2'], done.stderr


def test_a_file_of_another_origin():
    with pytest.raises(MetadataError, match=r'x\.onnx was not written by tools/export\.py'):
        Metadata.from_props({}, 'x.onnx')


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--out', 'x.pth'], 'must end in .onnx, .pt2, .xml'),
        (['--out', 'gone/x.onnx'], 'the folder gone of --out does not exist'),
        (['--out', 'x.onnx', '--part', 'neck'], 'of a config of mmpretrain can be exported'),
        (['--out', 'x.onnx', '--int8', 'static'], 'give --calibration FOLDER'),
        (['--out', 'x.onnx', '--input-size', '16', '64'], 'must be at least 32 32, got 16 64'),
        (['--out', 'x.onnx', '--checkpoint', 'gone.pth'], 'there is no file gone.pth'),
        (['--out', 'x.pt2', '--dynamic-size'], 'a .pt2 has one height and width'),
        (['--out', 'x.pt2', '--int8', 'dynamic'], '--int8 quantizes ONNX files'),
    ],
)
def test_errors_that_a_user_can_cure(options, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in message(capsys, 'tinyvim_s_300e_in1k', *options)


@pytest.mark.parametrize('dynamic', [False, True])
def test_a_segmentor_with_pyramid_pooling(dynamic, tmp_path):
    text = f"""
_base_ = '{CONFIG_ROOT}/mmseg/upernet_tinyvim_b_160k_ade20k.py'
model = dict(
    backbone=dict(arch={dict(tiny.ARCH, _delete_=True)}),
    decode_head=dict(in_channels=[8, 8, 16, 24], channels=8),
    auxiliary_head=dict(in_channels=16),
)
"""
    # The command compares the file with PyTorch: also at a second size, if it takes any.
    argv = [config(tmp_path, text), '--out', f'{tmp_path}/s.onnx', '--input-size', '96', '128']
    tool.main([*argv, '--rounds', '0', *['--dynamic-size'] * dynamic])
    assert runtime.Runner(tmp_path / 's.onnx').segment(PHOTO).shape == Image.open(PHOTO).size[::-1]
