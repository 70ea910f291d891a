"""Whole detectors in files against mmdet's ``predict``, on photographs."""

import json

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('onnx', reason='the export to ONNX needs onnx')
pytest.importorskip('onnxruntime', reason='ONNX files run in onnxruntime')

import tiny_detectors as tiny

from tinyvim_mm.commands import demo
from tinyvim_mm.core.errors import ExportMismatchError, UsageError
from tinyvim_mm.export import export
from tinyvim_mm.export.detectors import check
from tinyvim_mm.export.runtime import Runner

#: 640 x 480 pixels, and 427 x 640.
LANDSCAPE, PORTRAIT = tiny.PHOTOS[0], tiny.PHOTOS[1]
FIXED, DYNAMIC, PREPROCESS = {}, {'dynamic_size': True}, {'preprocess': True}
BOTH = {**DYNAMIC, **PREPROCESS}


def files(family, folder):
    """Config and checkpoint of a detector, and the detector."""
    model, cfg = tiny.build(family), tiny.config(family)
    config, weights = folder / f'{family}.py', folder / f'{family}.pth'
    cfg.dump(str(config))
    names = [f'thing {i}' for i in range(tiny.CLASSES)]
    torch.save(
        {'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': names}}}, weights
    )
    model.cfg = cfg
    return config, weights, model


def exported(family, folder, **options):
    config, weights, model = files(family, folder)
    settings = {'input_size': (160, 192), 'rounds': 0, **options}
    return export(config, folder / 'x.onnx', checkpoint=weights, **settings), model


def assert_as_mmdet(file, model, photo):
    from mmdet.apis import inference_detector

    found = Runner(file).detect(cv2.imread(str(photo))[..., ::-1].copy(), 0.05)
    boxes, scores, labels, masks = tiny.unpack(inference_detector(model, str(photo)).cpu())
    above = scores > 0.05
    boxes, scores, labels = boxes[above], scores[above], labels[above]
    assert len(scores) == len(found.scores) > 10
    assert (masks is None) == (found.masks is None)
    free = set(range(len(scores)))
    for row in range(len(scores)):
        same = [i for i in free if found.labels[i] == labels[row]]
        far = np.abs(found.boxes[same] - boxes[row]).max(1)
        place = same[int((far + np.abs(found.scores[same] - scores[row])).argmin())]
        free.remove(place)
        assert np.abs(found.boxes[place] - boxes[row]).max() < 0.1
        assert abs(found.scores[place] - scores[row]) < 1e-4
        if masks is not None:
            own, other = found.masks[place], masks[above][row]
            assert own.shape == other.shape
            # Of a mask of some hundred pixels one may lie on the threshold: its weights are random.
            assert (own ^ other).sum() <= max(2, 0.001 * (own | other).sum())


@pytest.mark.parametrize(
    ('family', 'options'), [('mask_rcnn', PREPROCESS), ('rtmdet_ins', FIXED), ('ssd', DYNAMIC)]
)
def test_detections_are_those_of_mmdet(family, options, tmp_path):
    file, model = exported(family, tmp_path, **options)
    assert_as_mmdet(file, model, LANDSCAPE)


@pytest.mark.slow
@pytest.mark.parametrize('options', [FIXED, PREPROCESS], ids=['images', 'pictures'])
@pytest.mark.parametrize('family', tiny.FAMILIES)
def test_detections_of_a_fixed_size(family, options, tmp_path):
    file, model = exported(family, tmp_path, **options)
    assert_as_mmdet(file, model, LANDSCAPE)


@pytest.mark.slow
@pytest.mark.parametrize('options', [DYNAMIC, BOTH], ids=['images', 'pictures'])
@pytest.mark.parametrize('family', tiny.FAMILIES)
def test_detections_of_any_size(family, options, tmp_path):
    file, model = exported(family, tmp_path, **options)
    assert_as_mmdet(file, model, LANDSCAPE)
    if family != 'rtmdet_ins':  # whose pictures are filled up to one size
        assert_as_mmdet(file, model, PORTRAIT)


@pytest.mark.slow
def test_the_demo_writes_what_it_writes_of_the_checkpoint(tmp_path):
    config, weights, _ = files('mask_rcnn', tmp_path)
    file = export(config, tmp_path / 'x.onnx', checkpoint=weights, dynamic_size=True, rounds=0)
    results = []
    for options in (['--checkpoint', file], ['--checkpoint', weights, '--model', config]):
        out = tmp_path / f'out{len(results)}'
        demo.main([str(arg) for arg in (LANDSCAPE, '--out', out, '--score-thr', 0.5, *options)])
        results.append(json.loads((out / 'predictions.json').read_text()))
        assert cv2.imread(str(out / LANDSCAPE.name)).shape == (480, 640, 3)
    found, expected = results
    for key in ('task', 'score_threshold', 'classes'):
        assert found[key] == expected[key], key
    own, other = (result['predictions'][0]['objects'] for result in results)
    assert len(own) == len(other) > 5
    for item, wanted in zip(own, other, strict=True):
        assert item['class'] == wanted['class']
        assert item['bbox'] == pytest.approx(wanted['bbox'], abs=0.1)
        assert item['score'] == pytest.approx(wanted['score'], abs=1e-4)
        assert item['segmentation']['size'] == [480, 640]


def test_the_file_and_its_outputs(tmp_path):
    file, _ = exported('rtmdet_ins', tmp_path, preprocess=True)
    runner = Runner(file)
    meta = runner.metadata
    assert (meta.part, meta.output, meta.preprocess) == ('detector', 'detections', True)
    assert (meta.masks, meta.mask_stride, meta.padding) == ('image', 8, (114.0, 114.0, 114.0))
    assert [o.name for o in runner.session.get_outputs()] == ['boxes', 'scores', 'labels', 'masks']
    black = np.zeros((2, 50, 70, 3), np.uint8)
    boxes, scores, labels, masks = runner.run(black)
    assert [x.shape for x in (boxes, scores, labels)] == [(2, 20, 4), (2, 20), (2, 20)]
    assert masks.shape == (2, 20, 20, 24)
    assert runner.detect(black[0], 0.999999).masks.shape == (0, 50, 70)
    with pytest.raises(ValueError, match='holds the detector of rtmdet_ins, not a segmentor'):
        runner.segment(black[0])


def test_rows_without_a_detection(tmp_path):
    options = {'model.test_cfg.score_thr': 0.99999}
    file, _ = exported('ssd', tmp_path, options=options)
    images = np.zeros((1, 3, 160, 192), np.float32)
    boxes, scores, labels = Runner(file).run(images, np.float32([[160, 192]]))
    assert (labels == -1).all()
    assert not boxes.any()
    assert not scores.any()


def test_a_file_that_finds_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(check, 'BOX_TOLERANCE', 0.0)
    with pytest.raises(ExportMismatchError, match='the file finds 100 % of what PyTorch finds'):
        exported('ssd', tmp_path)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'model.test_cfg.rcnn.nms.type': 'soft_nms'}, 'model.test_cfg.rcnn.nms is .*soft_nms'),
        ({'model.data_preprocessor.bgr_to_rgb': False}, 'feeds its network BGR'),
        ({'model.rpn_head.bbox_coder.type': 'TBLRBBoxCoder'}, 'has a TBLRBBoxCoder, of which'),
    ],
)
def test_detectors_that_cannot_be_exported(options, words, tmp_path):
    cfg = tiny.config('faster_rcnn')
    cfg.merge_from_dict(options)
    if 'TBLR' in words:
        cfg.model.rpn_head.bbox_coder = {'type': 'TBLRBBoxCoder'}
    cfg.dump(str(tmp_path / 'x.py'))
    with pytest.raises(UsageError, match=words):
        export(tmp_path / 'x.py', tmp_path / 'x.onnx', input_size=(64, 64), rounds=0)


@pytest.mark.parametrize(
    ('config', 'out', 'options', 'words'),
    [
        ('retinanet_tinyvim_b_1x_coco', 'x.pt2', {}, 'for a .pt2 take --part neck'),
        ('retinanet_tinyvim_b_1x_coco', 'x.onnx', {'int8': 'dynamic'}, '--int8 is for'),
        ('retinanet_tinyvim_b_1x_coco', 'x.onnx', {'opset': 13}, '--opset 13: RoIAlign'),
        ('tinyvim_s_300e_in1k', 'x.onnx', {'preprocess': True}, 'goes with --part detector'),
    ],
)
def test_options_that_do_not_go_together(config, out, options, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        export(config, tmp_path / out, input_size=(64, 64), rounds=0, **options)
