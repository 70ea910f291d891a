"""``tools/demo.py`` on pictures, folders and videos, for the three toolboxes."""

import ast
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from tinyvim_mm import get_config
from tinyvim_mm.commands.demo import main
from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.inference import load_predictor
from tinyvim_mm.inference.outputs import Outputs
from tinyvim_mm.models import TinyViM, reparameterize

PHOTOGRAPHS = PROJECT_ROOT / 'data' / 'sample' / 'coco' / 'val2017'
CLASSIFIER = 'tinyvim_s_300e_in1k'
NAMES = ('cup', 'dog', 'laptop')
#: Toolbox to config and settings that make it quick.
MODELS = {
    'mmdet': (
        'mask_rcnn_tinyvim_s_1x_coco',
        {
            'test_dataloader.dataset.pipeline.1.scale': '(160,96)',
            'model.test_cfg.rpn.max_per_img': 20,
            'model.test_cfg.rcnn.score_thr': 0.0,
            'model.test_cfg.rcnn.max_per_img': 4,
        },
    ),
    'mmseg': (
        'fpn_tinyvim_s_40k_ade20k',
        {'test_dataloader.dataset.pipeline.1.scale': '(160,64)'},
    ),
    'mmpretrain': (CLASSIFIER, {}),
}


def run(*argv):
    main([str(arg) for arg in argv])


def message(capsys, *argv, code=2):
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert caught.value.code == code
    return capsys.readouterr().err


def build(toolbox, classes=None):
    """A network of a toolbox with random weights, and statistics that are not the initial ones."""
    cfg = get_config(MODELS[toolbox][0])
    if toolbox == 'mmpretrain':
        cfg.model.distillation = None
        cfg.model.head.num_classes = len(classes)
    from mmengine.registry import MODELS as REGISTRY
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope(toolbox):
        model = REGISTRY.build(cfg.model)
    for name, buffer in model.named_buffers():
        if name.endswith('running_var'):
            buffer.uniform_(0.5, 2)
    return model


def save(model, path, **meta):
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return path


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A classifier of three classes as a training on the sample writes it."""
    pytest.importorskip('mmpretrain')
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'classifier.pth'
    return save(build('mmpretrain', NAMES), path, dataset_meta={'classes': NAMES})


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / 'in' / 'people.jpg'
    path.parent.mkdir()
    image = cv2.imread(str(sorted(PHOTOGRAPHS.glob('*.jpg'))[0]))
    cv2.imwrite(str(path), cv2.resize(image, (120, 90)))
    return path


def predict(toolbox, picture, weights, *options):
    out = picture.parent.parent / 'out'
    name, settings = MODELS[toolbox]
    changes = [f'{key}={value}' for key, value in settings.items()]
    cfg_options = ('--cfg-options', *changes) if changes else ()
    run(picture, '--model', name, '--checkpoint', weights, '--out', out, *options, *cfg_options)
    return out, json.loads((out / 'predictions.json').read_text())


def quick_config(toolbox):
    """The same config for the toolbox's own inferencer."""
    name, settings = MODELS[toolbox]
    cfg = get_config(name)
    cfg.merge_from_dict(
        {k: ast.literal_eval(v) if isinstance(v, str) else v for k, v in settings.items()}
    )
    return cfg


def assert_drawn(out, picture):
    drawn, original = cv2.imread(str(out / picture.name)), cv2.imread(str(picture))
    assert drawn.shape == original.shape
    difference = np.abs(drawn.astype(int) - original).max(2)
    assert (difference > 40).mean() > 0.02


# -- one picture -------------------------------------------------------------------


def test_detection(picture, tmp_path):
    pytest.importorskip('mmdet')
    from pycocotools import mask as coco

    model = build('mmdet')
    names = [f'thing {i}' for i in range(80)]
    weights = save(model, tmp_path / 'x.pth', dataset_meta={'classes': names})
    out, found = predict('mmdet', picture, weights, '--score-thr', 0)
    assert (found['task'], found['score_threshold']) == ('detection', 0)
    assert found['classes'] == names
    (entry,) = found['predictions']
    assert (entry['file'], entry['width'], entry['height']) == ('people.jpg', 120, 90)
    assert 0 < len(entry['objects']) <= 4
    for item in entry['objects']:
        assert item['class'] == f'thing {item["label"]}'
        x, y, width, height = item['bbox']
        assert min(x, y, width, height) >= 0
        assert x + width <= 120.01
        assert y + height <= 90.01
        assert coco.decode(item['segmentation']).shape == (90, 120)
    assert_drawn(out, picture)
    from mmdet.apis import DetInferencer

    inferencer = DetInferencer(quick_config('mmdet'), str(weights), device='cpu')
    (theirs,) = inferencer(str(picture), pred_score_thr=0)['predictions']
    ours = {(item['label'], round(item['score'], 4)) for item in entry['objects']}
    assert ours <= set(zip(theirs['labels'], [round(s, 4) for s in theirs['scores']], strict=True))


def test_a_picture_without_objects_is_said_to_be_one(picture, tmp_path, capsys):
    pytest.importorskip('mmdet')
    weights = save(build('mmdet'), tmp_path / 'x.pth')
    predict('mmdet', picture, weights, '--score-thr', 1.0)
    assert '1 picture, no objects with scores above 1.0' in capsys.readouterr().out


def test_segmentation(picture, tmp_path):
    pytest.importorskip('mmseg')
    weights = save(build('mmseg'), tmp_path / 'x.pth')  # names come from the dataset then
    out, found = predict('mmseg', picture, weights)
    assert found['classes'][:3] == ['wall', 'building', 'sky']
    (entry,) = found['predictions']
    labels = cv2.imread(str(out / 'label_maps' / 'people.jpg.png'), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (entry['height'], entry['width']) == (90, 120)
    shares = {found['classes'][i]: (labels == i).mean() for i in np.unique(labels)}
    assert entry['shares'] == pytest.approx(shares, abs=1e-6)
    values = list(entry['shares'].values())
    assert values == sorted(values, reverse=True)
    assert_drawn(out, picture)
    from mmseg.apis import MMSegInferencer

    inferencer = MMSegInferencer(quick_config('mmseg'), str(weights), device='cpu')
    np.testing.assert_array_equal(inferencer(str(picture))['predictions'], labels)


def test_classification(picture, checkpoint):
    out, found = predict('mmpretrain', picture, checkpoint, '--top-k', 2)
    assert (found['task'], found['top_k'], found['classes']) == ('classification', 2, list(NAMES))
    (entry,) = found['predictions']
    from mmpretrain import ImageClassificationInferencer, get_model

    cfg = get_config(CLASSIFIER)
    cfg.model.update(distillation=None)
    cfg.model.head.num_classes = 3
    model = get_model(cfg, pretrained=str(checkpoint))
    scores = ImageClassificationInferencer(model)(str(picture))[0]['pred_scores']
    order = np.argsort(-scores)[:2]
    assert [item['label'] for item in entry['top']] == order.tolist()
    assert [item['class'] for item in entry['top']] == [NAMES[i] for i in order]
    assert [item['score'] for item in entry['top']] == pytest.approx(scores[order], abs=1e-5)
    drawn = cv2.imread(str(out / picture.name))
    assert drawn.shape == (400, 533, 3)  # enlarged, for the text


def test_released_classifiers_run_as_they_are(picture, tmp_path):
    golden = pytest.importorskip('golden')
    pytest.importorskip('mmpretrain')
    torch.save({'model': golden.released_state_dict('s', dense_norms=False)}, tmp_path / 'x.pth')
    _, found = predict('mmpretrain', picture, tmp_path / 'x.pth')
    assert found['classes'][0].startswith('tench')
    assert len(found['predictions'][0]['top']) == 5


def test_deploy_runs_the_smaller_network(checkpoint):
    plain, deployed = (
        load_predictor(get_config(CLASSIFIER), str(checkpoint), device='cpu', deploy=deploy)
        for deploy in (False, True)
    )
    sizes = [sum(p.numel() for p in x.model.parameters()) for x in (plain, deployed)]
    assert sizes[1] < sizes[0]
    image = np.random.RandomState(0).randint(0, 256, (64, 80, 3), dtype=np.uint8)
    scores = [x.predict(image).pred_score for x in (plain, deployed)]
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-6)


# -- folders and videos ------------------------------------------------------------


def test_a_folder_is_done_though_one_file_is_broken(picture, checkpoint, capsys):
    folder, out = picture.parent, picture.parent.parent / 'out'
    shutil.copy(picture, folder / 'a.png')
    (folder / 'broken.jpg').write_text('no picture')
    (folder / 'notes.txt').write_text('not looked at')
    options = ('--model', CLASSIFIER, '--checkpoint', checkpoint, '--out', out)
    error = message(capsys, folder, *options, code=3)
    assert '1 of 3 files gave no prediction:' in error
    assert 'broken.jpg: damaged, or no picture' in error
    found = json.loads((out / 'predictions.json').read_text())['predictions']
    assert [entry['file'] for entry in found] == ['a.png', 'people.jpg']
    assert sorted(path.name for path in out.iterdir()) == [
        'a.png',
        'people.jpg',
        'predictions.json',
    ]


def png_that_claims(width, height):
    """A PNG of a few bytes, with another size in its header."""
    size = struct.pack('>II', width, height) + bytes([8, 2, 0, 0, 0])
    parts = [(b'IHDR', size), (b'IDAT', zlib.compress(b'0')), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
        for kind, body in parts
    )


#: A kind that OpenCV reads by its content, and Pillow does not know.
RADIANCE = b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n' + bytes(1000)


def test_pictures_that_would_exhaust_the_memory_are_named_and_the_others_done(
    picture, checkpoint, capsys, monkeypatch
):
    folder, out = picture.parent, picture.parent.parent / 'out'
    (folder / 'bomb.png').write_bytes(png_that_claims(50_000, 50_000))
    cv2.imwrite(str(folder / 'long.png'), np.zeros((2, 5000, 3), np.uint8))
    (folder / 'loop.jpg').symlink_to(folder / 'loop.jpg')
    (folder / 'folder.jpg').mkdir()
    os.mkfifo(folder / 'pipe.mp4')
    (folder / 'radiance.jpg').write_bytes(RADIANCE)
    (folder / 'cut.jpg').write_bytes(picture.read_bytes()[:-300])
    (folder / os.fsdecode(b'latin-\xfc.png')).write_bytes(b'any')
    floats = np.zeros((2, 5000, 3), np.float32)  # of which Pillow knows nothing
    cv2.imwrite(str(folder / 'floats.tif'), floats)
    cv2.imwrite(str(folder / 'memory.png'), np.zeros((40, 41, 3), np.uint8))
    read = cv2.imread

    def exhausted(path, *flags):
        if path.endswith('memory.png'):
            raise MemoryError
        return read(path, *flags)

    monkeypatch.setattr(cv2, 'imread', exhausted)
    options = ('--model', CLASSIFIER, '--checkpoint', checkpoint, '--out', out)
    error = message(capsys, folder, *options, code=3)
    assert '10 of 11 files gave no prediction:' in error
    for line in (
        'bomb.png: more than 100,000,000 pixels (Image size (2500000000 pixels)',
        'long.png: of its 5000 x 2 pixels one side is more than 100 times the other',
        'loop.jpg: Too many levels of symbolic links',
        'folder.jpg: it is no file',
        'pipe.mp4: it is no file',
        'radiance.jpg: damaged, or no picture',
        'cut.jpg: the JPEG is cut off',
        'latin-\\udcfc.png: its name is not UTF-8',
        'floats.tif: of its 5000 x 2 pixels',
        'memory.png: it takes more memory than there is',
    ):
        assert line in error
    found = json.loads((out / 'predictions.json').read_text())['predictions']
    assert [entry['file'] for entry in found] == ['people.jpg']


def test_a_network_without_memory_for_a_picture(picture, checkpoint, capsys, monkeypatch):
    from tinyvim_mm.toolboxes.mmpretrain import PREDICTOR

    def exhausted(self, image):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TB")

    monkeypatch.setattr(PREDICTOR, 'predict', exhausted)
    options = ('--model', CLASSIFIER, '--checkpoint', checkpoint, '--out', picture.parent / 'out')
    error = message(capsys, picture, *options)
    assert 'people.jpg: it takes more memory than there is' in error


def test_a_network_without_memory_for_one_frame(tmp_path, checkpoint, capsys, monkeypatch):
    from tinyvim_mm.toolboxes.mmpretrain import PREDICTOR

    predict, clip, out = PREDICTOR.predict, tmp_path / 'clip.avi', tmp_path / 'out'

    def exhausted(self, image):
        if image.mean() > 150:
            raise MemoryError
        return predict(self, image)

    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 48))
    for shade in (0, 200, 100):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    monkeypatch.setattr(PREDICTOR, 'predict', exhausted)
    options = ('--model', CLASSIFIER, '--checkpoint', checkpoint, '--out', out)
    error = message(capsys, clip, *options, code=3)
    assert '1 of 1 files gave no prediction, or not of all frames:' in error
    found = json.loads((out / 'predictions.json').read_text())['predictions']
    assert [entry['frame'] for entry in found] == [0, 2]


def test_kinds_of_pictures_are_drawn_in_colors(picture, checkpoint):
    folder, out = picture.parent, picture.parent.parent / 'out'
    cv2.imwrite(str(folder / 'gray.pgm'), np.zeros((40, 41), np.uint8))
    floats = folder / 'floats.tif'
    cv2.imwrite(str(floats), np.zeros((40, 41, 3), np.float32))
    readable = cv2.imread(str(floats)) is not None  # not by OpenCV 4.14
    if not readable:
        floats.unlink()
    run(folder, '--model', CLASSIFIER, '--checkpoint', checkpoint, '--out', out)
    assert cv2.imread(str(out / 'gray.pgm.png'), cv2.IMREAD_UNCHANGED).ndim == 3
    assert (cv2.imread(str(out / 'floats.tif')) is not None) is readable


def test_a_video_frame_by_frame(tmp_path, checkpoint, capsys):
    path, out = tmp_path / 'clip.avi', tmp_path / 'out'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 48))
    assert writer.isOpened()
    for shade in (0, 100, 200):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    run(path, '--model', CLASSIFIER, '--checkpoint', checkpoint, '--out', out)
    found = json.loads((out / 'predictions.json').read_text())['predictions']
    assert [(entry['file'], entry['frame']) for entry in found] == [
        ('clip.avi', index) for index in range(3)
    ]
    scores = [tuple(item['score'] for item in entry['top']) for entry in found]
    assert len(set(scores)) == 3
    video = cv2.VideoCapture(str(out / 'clip.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert video.get(cv2.CAP_PROP_FPS) == 5
    printed = capsys.readouterr().out
    assert '3/3' in printed
    assert '1 video' in printed


# -- errors ------------------------------------------------------------------------


def test_no_video_takes_the_place_of_another(tmp_path):
    sources = [tmp_path / name for name in ('a.pgm', 'a.pgm.png', 'clip.avi', 'clip.mov')]
    outputs = Outputs(tmp_path / 'out', sources)
    for source in sources:
        outputs.add(source, None, np.zeros((48, 64, 3), np.uint8), {})
    outputs.close()
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        *('a.pgm.png', 'a.pgm.png.png', 'clip.mp4', 'clip.mp4.mp4', 'predictions.json')
    }


def test_weights_have_to_be_named(picture, checkpoint, capsys):
    arguments = (picture, '--model', CLASSIFIER)
    error = message(capsys, *arguments)
    assert error.startswith('tools/demo.py: error: no --checkpoint')
    assert '--random-weights' in error
    both = message(capsys, *arguments, '--random-weights', '--checkpoint', checkpoint)
    assert 'not both' in both
    absent = message(capsys, *arguments, '--checkpoint', checkpoint.with_name('clasifier.pth'))
    assert f'{checkpoint.parent} holds: classifier.pth' in absent


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('in/peple.jpg', 'did you mean people.jpg?'),
        ('notes.txt', 'of no known type; read are pictures (.jpg'),
        ('empty', 'holds no pictures'),
        ('x' * 999, 'File name too long'),
    ],
)
def test_inputs_that_are_none(path, expected, picture, checkpoint, capsys):
    folder = picture.parent.parent
    (folder / 'notes.txt').touch()
    (folder / 'empty').mkdir()
    error = message(capsys, folder / path, '--model', CLASSIFIER, '--checkpoint', checkpoint)
    assert expected in error


def test_folders_that_cannot_be_written(picture, checkpoint, capsys):
    out = picture.parent.parent / 'out'
    (out / 'predictions.json').mkdir(parents=True)
    options = ('--model', CLASSIFIER, '--checkpoint', checkpoint, '--out')
    assert 'cannot be written: Is a directory' in message(capsys, picture, *options, out)
    for name, said in {'x' * 999: 'cannot be made', os.fsdecode(b'\xfc'): 'not UTF-8'}.items():
        assert said in message(capsys, picture, *options, out / name)


def test_the_input_is_not_overwritten(picture, checkpoint, capsys):
    before = picture.read_bytes()
    options = ('--model', CLASSIFIER, '--checkpoint', checkpoint, '--out', picture.parent)
    assert 'would overwrite the input' in message(capsys, picture, *options)
    assert picture.read_bytes() == before


def test_devices_that_are_not_there(picture, checkpoint, capsys):
    options = ('--model', CLASSIFIER, '--checkpoint', checkpoint, '--device')
    assert '--device tpux is not usable' in message(capsys, picture, *options, 'tpux')
    assert '--device cuda:99 is not usable' in message(capsys, picture, *options, 'cuda:99')


@pytest.fixture
def failing(picture, capsys, tmp_path):
    """Save something as a checkpoint, and return what the tool says of it."""

    def fail(content):
        torch.save(content, tmp_path / 'x.pth')
        out = ('--out', tmp_path / 'out')
        arguments = ('--model', CLASSIFIER, '--checkpoint', tmp_path / 'x.pth', *out)
        error = message(capsys, picture, *arguments)
        assert not (tmp_path / 'out' / picture.name).exists()
        return error

    return fail


def test_a_checkpoint_of_another_size(failing):
    pytest.importorskip('mmpretrain')
    state = TinyViM('b', normalize_outputs=False, out_indices=(3,)).state_dict()
    error = failing({'state_dict': {f'backbone.{key}': value for key, value in state.items()}})
    assert 'It holds TinyViM-B: choose the config of its size.' in error
    assert 'of another shape' in error


def test_a_checkpoint_without_the_head(failing):
    pytest.importorskip('mmpretrain')
    state = TinyViM('s', normalize_outputs=False, out_indices=(3,)).state_dict()
    error = failing({'state_dict': {f'backbone.{key}': value for key, value in state.items()}})
    assert 'weights of the backbone, but none of the rest of this model' in error
    assert 'head.norm.weight' in error


def test_a_checkpoint_with_a_key_too_few_or_too_many(failing, checkpoint):
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    key = 'backbone.stages.0.blocks.0.layer_scale'
    assert f'1 missing in the file: {key}' in failing({k: v for k, v in state.items() if k != key})
    assert '1 unknown to the model: neck.x' in failing({**state, 'neck.x': torch.ones(1)})


def test_a_deployed_checkpoint(failing, checkpoint):
    model = build('mmpretrain', NAMES)
    state = reparameterize(model).state_dict()
    assert 'reparameterized, and this model is in its training form' in failing(state)


def test_a_checkpoint_with_code(failing):
    class Harmful:
        def __reduce__(self):
            return print, ('code was executed',)

    assert 'could execute code' in failing({'state_dict': Harmful()})


# -- exported files ----------------------------------------------------------------


@pytest.fixture
def exported(monkeypatch, tmp_path):
    """Make a file whose runner gives fixed answers: what is tested is what becomes of them."""
    from tinyvim_mm.export import runtime
    from tinyvim_mm.export.detection import Detections

    def make(part, classes):
        class Runner:
            metadata = SimpleNamespace(part=part, config='a_config', classes=classes)

            def __init__(self, path):
                assert path == str(tmp_path / 'model.onnx')

            def classify(self, image, top):
                assert image[0, 0].tolist() == [30, 20, 10]  # RGB
                return [(2, 'c', 0.5), (0, 'a', 0.25), (1, 'b', 0.125)][:top]

            def segment(self, image):
                return np.arange(image.shape[1])[None].repeat(image.shape[0], 0) * 4 // 120

            def detect(self, image, score_thr):
                assert score_thr == 0.4
                masks = np.zeros((2, *image.shape[:2]), bool)
                masks[0, 20:40, 30:70] = True
                boxes = np.float32([[30, 20, 70, 40], [5, 50, 15.5, 60]])
                return Detections(boxes, np.float32([0.75, 0.5]), np.array([1, 2]), masks)

        monkeypatch.setattr(runtime, 'Runner', Runner)
        (tmp_path / 'model.onnx').touch()
        (tmp_path / 'in').mkdir(exist_ok=True)
        picture = tmp_path / 'in' / 'people.png'
        cv2.imwrite(str(picture), np.full((90, 120, 3), (10, 20, 30), np.uint8))
        return picture, '--checkpoint', tmp_path / 'model.onnx', '--out', tmp_path / 'out'

    return make


def results(tmp_path):
    found = json.loads((tmp_path / 'out' / 'predictions.json').read_text())
    return found, found['predictions'][0]


def test_an_exported_classifier(exported, tmp_path):
    run(*exported('classifier', ('a', 'b', 'c')), '--top-k', 2)
    found, entry = results(tmp_path)
    assert (found['model'], found['task'], found['top_k']) == ('a_config', 'classification', 2)
    assert entry['top'] == [
        {'class': 'c', 'label': 2, 'score': 0.5},
        {'class': 'a', 'label': 0, 'score': 0.25},
    ]
    drawn = cv2.imread(str(tmp_path / 'out' / 'people.png'))
    assert drawn.shape == (400, 533, 3)
    assert drawn.min(2).max() > 200  # letters


def test_an_exported_segmentor_without_names(exported, tmp_path):
    run(*exported('segmentor', ('wall', 'sky')))
    found, entry = results(tmp_path)
    assert found['classes'] == ['wall', 'sky', 'class 2', 'class 3']
    assert entry['shares'] == {'wall': 0.25, 'sky': 0.25, 'class 2': 0.25, 'class 3': 0.25}
    labels = cv2.imread(str(tmp_path / 'out' / 'label_maps' / 'people.png.png'), -1)
    assert [labels[0, column] for column in (0, 30, 60, 119)] == [0, 1, 2, 3]
    drawn = cv2.imread(str(tmp_path / 'out' / 'people.png'))
    assert len({tuple(drawn[0, column]) for column in (0, 30, 60, 119)}) == 4


def test_an_exported_detector(exported, tmp_path):
    run(*exported('detector', ('cup', 'dog')), '--score-thr', 0.4)
    found, entry = results(tmp_path)
    assert (found['task'], found['score_threshold']) == ('detection', 0.4)
    assert found['classes'] == ['cup', 'dog', 'class 2']
    first, second = entry['objects']
    assert (first['class'], first['score'], first['bbox']) == ('dog', 0.75, [30, 20, 40, 20])
    assert (second['class'], second['bbox']) == ('class 2', [5, 50, 10.5, 10])
    assert first['segmentation']['size'] == [90, 120]
    drawn = cv2.imread(str(tmp_path / 'out' / 'people.png')).astype(int)
    assert np.abs(drawn[38, 60] - (10, 20, 30)).max() > 40  # under the mask
    assert drawn[80, 100].tolist() == [10, 20, 30]


def test_exported_files_that_the_demo_cannot_use(exported, capsys):
    assert 'holds a neck, which finds nothing' in message(capsys, *exported('neck', ()))
    assert '--deploy does not apply' in message(capsys, *exported('classifier', ()), '--deploy')


def test_addresses_of_exported_files(exported, tmp_path, capsys, monkeypatch):
    picture, option, path, *out = exported('classifier', ('a', 'b', 'c'))
    run(picture, option, path.as_uri(), *out)
    assert results(tmp_path)[1]['top'][0]['class'] == 'c'
    monkeypatch.setenv('TINYVIM_MM_ALLOW_DOWNLOAD', '1')
    error = message(capsys, picture, option, 'https://h/x.onnx', *out)
    assert 'https://h/x.onnx: exported files are not fetched' in error


def test_exported_files_need_no_torch(tmp_path):
    code = (
        'import sys\n'
        'for name in ("torch", "mmengine", "mmcv", "onnxruntime"): sys.modules[name] = None\n'
        'from tinyvim_mm.commands.demo import main\n'
        f'main([{str(tmp_path / "x.png")!r}, "--checkpoint", {str(tmp_path / "x.onnx")!r}])'
    )
    cv2.imwrite(str(tmp_path / 'x.png'), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'x.onnx').touch()
    process = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert process.returncode == 2
    assert 'pip install onnxruntime' in process.stderr
