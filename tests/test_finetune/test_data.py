"""Own data: layouts, faults, splits."""

import json
import shutil

import numpy as np
import pytest
from own_data import MAKERS, TASKS
from PIL import Image

from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.finetune.checks import check_data
from tinyvim_mm.finetune.conversion import write_annotations
from tinyvim_mm.finetune.dataset import Faults
from tinyvim_mm.finetune.layouts import read_data
from tinyvim_mm.finetune.splitting import split_data


def look(root, strict=False, ignored=(255,), class_file=None):
    faults = Faults()
    data = read_data(root, None, class_file, faults)
    check_data(data, faults, ignored, strict)
    split_data(data, faults)
    return data, faults


@pytest.fixture(params=MAKERS)
def layout(request, tmp_path):
    MAKERS[request.param](tmp_path / 'data')
    return request.param, tmp_path / 'data'


def test_each_layout_is_recognized_whole_and_split(layout):
    name, root = layout
    data, faults = look(root)
    assert data.task == TASKS[name]
    assert not faults.lines()
    assert data.split('train')
    assert data.split('val')
    assert not data.split('test')
    again, _ = look(root)
    assert [p.split for p in again.pictures] == [p.split for p in data.pictures]
    trained = {c for p in data.split('train') for c in p.classes()}
    assert {c for p in data.pictures for c in p.classes()} >= trained


def test_three_layouts_hold_the_same_boxes(tmp_path):
    found = {}
    for name in ('coco', 'yolo', 'voc'):
        MAKERS[name](tmp_path / name)
        data, _ = look(tmp_path / name)
        found[name] = {
            (p.file.name, data.classes[b.label], *(round(v) for v in (b.x, b.y, b.width, b.height)))
            for p in data.pictures
            for b in p.boxes
        }
    assert found['yolo'] == found['coco']
    assert len(found['coco']) > 20
    near = {(f, c, round(x / 3), round(y / 3)) for f, c, x, y, *_ in found['voc']}
    assert near == {(f, c, round(x / 3), round(y / 3)) for f, c, x, y, *_ in found['coco']}


def test_converted_annotations_are_coco(tmp_path):
    pycoco = pytest.importorskip('pycocotools.coco')
    MAKERS['yolo'](tmp_path / 'yolo')
    data, _ = look(tmp_path / 'yolo')
    write_annotations(data, tmp_path / 'out')
    coco = pycoco.COCO(str(tmp_path / 'out' / 'train.json'))
    assert len(coco.imgs) == len(data.split('train'))
    assert len(coco.anns) == sum(len(p.boxes) for p in data.split('train'))
    assert all((data.root / image['file_name']).is_file() for image in coco.imgs.values())


def change_coco(root, change):
    file = root / 'annotations.json'
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_ids_may_be_written_with_a_point(tmp_path):
    def with_points(content):
        for annotation in content['annotations']:
            for key in ('image_id', 'category_id'):
                annotation[key] = float(annotation[key])

    MAKERS['coco'](tmp_path / 'coco')
    before, _ = look(tmp_path / 'coco')
    change_coco(tmp_path / 'coco', with_points)
    after, faults = look(tmp_path / 'coco')
    assert not faults.counts
    assert after.classes == before.classes
    assert [len(p.boxes) for p in after.pictures] == [len(p.boxes) for p in before.pictures]


COCO_FAULTS = {
    'degenerate': lambda c: c['annotations'][0].update(bbox=[5, 5, 0, 10]),
    'outside of its picture': lambda c: c['annotations'][0].update(bbox=[9000, 5, 10, 10]),
    'reaches out': lambda c: c['annotations'][0].update(bbox=[-20, -20, 100, 100]),
    'a class that the file does not list': lambda c: c['annotations'][0].update(category_id=999),
    'does not list': lambda c: c['annotations'][0].update(image_id=999),
    'picture does not exist': lambda c: c['images'][0].update(file_name='nowhere.jpg'),
    'another size': lambda c: c['images'][0].update(width=3),
    'no number': lambda c: c['annotations'][0].update(bbox=[float('nan'), 5, 10, 10]),
}


COCO_FAULTS |= {
    'outside of the folder': lambda c: c['images'][0].update(file_name='/etc/hostname'),
    'outline cannot be drawn': lambda c: c['annotations'][0].update(
        segmentation=[[float('nan'), 0, 1, 1, 2, 2]]
    ),
}
COCO_REFUSED = {
    'has no "categories"': lambda c: c.pop('categories'),
    '"images" is a dict': lambda c: c.update(images={}),
    'images that share an id': lambda c: c['images'][1].update(id=c['images'][0]['id']),
    'images without "file_name"': lambda c: c['images'][0].pop('file_name'),
}


@pytest.mark.parametrize('words', COCO_REFUSED)
@pytest.mark.parametrize('place', ['', 'annotations.json'], ids=['folder', 'file'])
def test_what_a_coco_file_lacks_is_named(tmp_path, words, place):
    MAKERS['coco'](tmp_path / 'coco')
    change_coco(tmp_path / 'coco', COCO_REFUSED[words])
    with pytest.raises(UsageError, match=words):
        look(tmp_path / 'coco' / place)


BAD_TEXTS = {
    'coco': ('annotations.json', b'\xff\xfe', 'not UTF-8'),
    'yolo': ('data.yaml', b'\xff\xfe', 'not UTF-8'),
    'yolo, no YAML': ('data.yaml', b'names: [', 'not YAML'),
    'yolo, a list': ('data.yaml', b'- names', 'no key: names'),
    'maps': ('classes.txt', b'\xff', 'not UTF-8'),
}


@pytest.mark.parametrize('case', BAD_TEXTS)
def test_files_that_cannot_be_read_are_named(tmp_path, case):
    name, content, words = BAD_TEXTS[case]
    MAKERS[case.split(',')[0]](tmp_path / 'data')
    (tmp_path / 'data' / name).write_bytes(content)
    with pytest.raises(UsageError, match=f'{name}.*{words}'):
        look(tmp_path / 'data')


@pytest.mark.parametrize('fault', COCO_FAULTS)
def test_faults_of_boxes_are_named_and_strict_refuses(tmp_path, fault):
    root = tmp_path / 'coco'
    MAKERS['coco'](root)
    change_coco(root, COCO_FAULTS[fault])
    _, faults = look(root)
    assert any(line.startswith('1 x') and fault in line for line in faults.lines())
    with pytest.raises(UsageError, match='--strict'):
        look(root, strict=True)


def test_mostly_wrong_data_are_refused(tmp_path):
    root = tmp_path / 'yolo'
    MAKERS['yolo'](root)
    (root / 'data.yaml').write_text('names: [thing]\n')
    for file in (root / 'labels').iterdir():
        lines = file.read_text().splitlines()
        file.write_text('\n'.join('0 5 5 0.1 0.1' for _ in lines))
    with pytest.raises(UsageError, match='no accident'):
        look(root)


def test_unreadable_pictures_and_copies_in_two_splits(tmp_path):
    root = tmp_path / 'data'
    for split in ('train', 'val'):
        MAKERS['folders'](root / split)
    broken = next((root / 'train' / 'dog').iterdir())
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(UsageError, match='no picture to train on'):
        look(root)  # all of val are copies
    for file in sorted((root / 'val').rglob('*.jpg'))[1:]:
        file.unlink()
    data, faults = look(root)
    assert any('cannot be read' in line for line in faults.lines())
    assert any('in two splits' in line for line in faults.lines())
    assert broken not in [picture.file for picture in data.pictures]


def test_label_maps_with_values_out_of_range(tmp_path):
    root = tmp_path / 'maps'
    MAKERS['maps'](root)
    file = sorted((root / 'annotations').iterdir())[0]
    Image.fromarray(np.full(Image.open(file).size[::-1], 7, np.uint8)).save(file)
    data, faults = look(root)
    assert any('values beyond the 2 classes' in line for line in faults.lines())
    write_annotations(data, tmp_path / 'out')
    maps = [np.asarray(Image.open(f)) for f in (tmp_path / 'out').rglob('*.png')]
    assert {int(v) for each in maps for v in each.flat} <= {0, 1, 255}


def test_masks_of_0_and_255_are_background_and_foreground(tmp_path):
    root = tmp_path / 'maps'
    MAKERS['maps'](root)
    (root / 'classes.txt').unlink()
    for file in (root / 'annotations').iterdir():
        Image.open(file).point(lambda value: 255 * value).save(file)
    data, _ = look(root)
    assert data.classes == ['background', 'foreground']
    assert data.values == {0: 0, 255: 1}


def test_no_layout_is_an_error_that_shows_them(tmp_path):
    with pytest.raises(UsageError, match='YOLO'):
        look(tmp_path)
    MAKERS['yolo'](tmp_path / 'yolo')
    (tmp_path / 'yolo' / 'data.yaml').unlink()
    with pytest.raises(UsageError, match=r'classes\.txt'):
        look(tmp_path / 'yolo')
    shutil.rmtree(tmp_path / 'yolo')
