"""Own data from the folder to a model that demo and export take."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config
from own_data import MAKERS, TASKS
from PIL import Image
from tool_runs import forget_runs

from tinyvim_mm.commands import demo, export
from tinyvim_mm.commands import finetune as command

TOOLBOXES = dict(detect='mmdet', segment='mmseg', classify='mmpretrain')


def run(root, out, *options):
    pytest.importorskip(TOOLBOXES[TASKS[root.name]])
    forget_runs()
    command.main([str(root), '--out', str(out), *options])
    forget_runs()


@pytest.mark.parametrize('name', MAKERS)
def test_the_config_is_an_ordinary_one(tmp_path, name):
    root, out = tmp_path / name, tmp_path / 'out'
    MAKERS[name](root)
    run(root, out, '--dry-run', '--device', 'cpu')
    text = (out / 'config.py').read_text()
    assert "_base_ = 'tinyvim_mm::" in text
    cfg = Config.fromfile(out / 'config.py')
    classes = cfg.train_dataloader.dataset.metainfo.classes
    heads = dict(detect='roi_head.bbox_head', segment='decode_head', classify='head')
    head = cfg.model
    for part in heads[TASKS[name]].split('.'):
        head = head[part]
    assert head.num_classes == len(classes)
    assert cfg.model.backbone.init_cfg is None
    for split in ('train', 'val', 'test'):
        assert Path(cfg[f'{split}_dataloader'].dataset.ann_file).is_file()
    assert not (out / 'train').exists()


@pytest.mark.parametrize(
    ('model', 'key', 'usual'),
    [
        ('mask_rcnn_tinyvim_s_1x_coco', 'model.rpn_head.anchor_generator.scales', [8]),
        ('retinanet_tinyvim_b_1x_coco', 'model.bbox_head.anchor_generator.octave_base_scale', 4),
    ],
)
@pytest.mark.parametrize('side', [20, 200])
def test_anchors_fit_the_class_with_the_smallest_objects(tmp_path, model, key, usual, side):
    """Of 11 objects 10 are large; with anchors for these the small one would not be learned."""
    pytest.importorskip('mmdet')
    root = tmp_path / 'coco'
    (root / 'images').mkdir(parents=True)
    sizes = [250] * 10 + [side]
    boxes = [dict(image_id=0, bbox=[0, 0, s, s], category_id=s == side) for s in sizes]
    objects = [dict(id=i, iscrowd=0, area=b['bbox'][2] ** 2, **b) for i, b in enumerate(boxes)]
    images = []
    for number in range(5):
        # Each of its own, or they would be taken for one.
        Image.new('RGB', (320, 320), (number, 0, 0)).save(root / 'images' / f'{number}.png')
        images.append(dict(id=number, file_name=f'{number}.png', width=320, height=320))
    objects = [dict(o, id=o['id'] + 99 * i, image_id=i) for i in range(5) for o in objects]
    categories = [dict(id=0, name='large'), dict(id=1, name='small')]
    content = dict(images=images, annotations=objects, categories=categories)
    (root / 'annotations.json').write_text(json.dumps(content))
    run(root, tmp_path / 'out', '--dry-run', '--device', 'cpu', '--model', model)
    found = Config.fromfile(tmp_path / 'out' / 'config.py')
    for part in key.split('.'):
        found = found[part]
    half = [usual[0] / 2] if isinstance(usual, list) else usual / 2
    assert found == (half if side == 20 else usual)
    assert ('objects of small' in (tmp_path / 'out' / 'config.py').read_text()) == (side == 20)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['yolo', 'maps', 'folders'])
def test_trained_to_a_model_that_demo_and_export_take(tmp_path, name):
    root, out = tmp_path / name, tmp_path / 'out'
    MAKERS[name](root)
    run(root, out, '--epochs', '2', '--image-size', '64', '--device', 'cpu')
    result = json.loads((out / 'result.json').read_text())
    assert result['task'] == TASKS[name]
    assert result['scores']['confusion']
    for picture in ('predictions', 'confusion_matrix', 'loss_curves'):
        assert (out / f'{picture}.png').stat().st_size > 1000
    model = out / 'model'
    assert (model / 'classes.txt').read_text().splitlines() == result['classes']
    picture = next(file for file in root.rglob('*.jpg'))
    demo.main([str(picture), '--model', str(model), '--out', str(tmp_path / 'demo')])
    told = json.loads((tmp_path / 'demo' / 'predictions.json').read_text())
    assert told['classes'] == result['classes']
    pytest.importorskip('onnxruntime')
    export.main([str(model), '--rounds', '0'])
    assert (model / 'model.onnx').is_file()


@pytest.mark.slow
def test_weights_of_a_trained_model_start_one_of_other_classes(tmp_path, capsys):
    MAKERS['folders'](tmp_path / 'folders')
    run(tmp_path / 'folders', tmp_path / 'first', '--epochs', '1', '--image-size', '64')
    weights = tmp_path / 'first' / 'model' / 'weights.pth'
    MAKERS['yolo'](tmp_path / 'yolo')
    run(tmp_path / 'yolo', tmp_path / 'second', '--dry-run', '--weights', str(weights))
    assert 'fills the backbone' in capsys.readouterr().out
    cfg = Config.fromfile(tmp_path / 'second' / 'config.py')
    assert cfg.model.backbone.init_cfg.checkpoint == str(weights)
