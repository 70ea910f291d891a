"""The photographs in ADE20K's layout, and the script that makes them."""

import csv
import sys

import numpy as np
import pytest

pytest.importorskip('pycocotools')

import cv2

from tinyvim_mm.core.paths import PROJECT_ROOT

SAMPLE = PROJECT_ROOT / 'data' / 'sample' / 'ade'
SPLITS = {'training': 10, 'validation': 6}


@pytest.fixture(scope='module')
def script():
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        'make_sample_ade', PROJECT_ROOT / 'tools' / 'make_sample_ade.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def label_maps(split):
    return sorted((SAMPLE / 'ADEChallengeData2016' / 'annotations' / split).glob('*.png'))


def test_the_script_makes_the_shipped_files(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['make_sample_ade.py', '--out', str(tmp_path)])
    script.main()
    made = {p.relative_to(tmp_path) for p in tmp_path.rglob('*') if p.is_file()}
    shipped = {p.relative_to(SAMPLE) for p in SAMPLE.rglob('*') if p.is_file()}
    assert made == {p for p in shipped if p.name != 'README.md'}
    assert len(made) == 2 * 16 + 1
    for name in made:
        if name.suffix == '.png':
            assert np.array_equal(read(tmp_path / name), read(SAMPLE / name)), name
        elif name.suffix == '.jpg':
            # Other versions of the JPEG library may round otherwise.
            difference = read(tmp_path / name).astype(float) - read(SAMPLE / name)
            assert np.abs(difference).mean() < 1, name
        else:
            assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes()


def test_the_folder_is_small():
    assert sum(p.stat().st_size for p in SAMPLE.rglob('*') if p.is_file()) < 2e6


@pytest.mark.parametrize('split', SPLITS)
def test_label_maps_have_the_format_of_ade20k(split, script):
    assert len(label_maps(split)) == SPLITS[split]
    numbers = {0, *(number for number, _ in script.CLASSES)}
    for path in label_maps(split):
        labels = read(path)
        picture = read(str(path).replace('annotations', 'images').replace('.png', '.jpg'))
        assert labels.dtype == np.uint8
        assert labels.shape == picture.shape[:2]
        assert set(np.unique(labels)) <= numbers
        assert (labels > 0).mean() > 0.03, path


def test_classes_of_the_validation_are_learned_in_the_training():
    seen, unseen = (
        {number for path in label_maps(split) for number in np.unique(read(path))}
        for split in ('training', 'validation')
    )
    assert unseen <= seen
    assert len(seen) > 20


def test_classes_are_named_as_mmseg_names_them(script):
    names = pytest.importorskip('mmseg.utils').get_classes('ade20k')
    for number, name in script.CLASSES:
        assert names[number - 1].strip() == name
    categories = [category for part in script.CLASSES.values() for category in part]
    assert len(categories) == len(set(categories))


def test_small_objects_lie_on_large_ones_and_crowds_are_other(script):
    def square(number, size, category, crowd=0):
        outline = [0, 0, size, 0, size, size, 0, size]
        found = dict(id=number, image_id=1, category_id=category, area=size**2, iscrowd=crowd)
        if crowd:
            mask = np.zeros((20, 20), np.uint8, order='F')
            mask[:size, :size] = 1
            from pycocotools import mask as coco_mask

            return {**found, 'segmentation': coco_mask.encode(mask)}
        return {**found, 'segmentation': [outline]}

    coco = script.COCO()
    names = ['person', 'chair', 'cup']
    coco.dataset = dict(
        images=[dict(id=1, width=20, height=20)],
        categories=[dict(id=i, name=name) for i, name in enumerate(names)],
        # person below chair below a crowd of persons below a cup.
        annotations=[
            square(1, 4, 2),
            square(2, 12, 1),
            square(3, 18, 0),
            square(4, 8, 0, crowd=1),
        ],
    )
    coco.createIndex()
    labels = script.label_map(coco, 1)
    assert labels[19, 19] == 0
    assert labels[15, 15] == 13
    assert labels[10, 10] == 20
    assert labels[6, 6] == 0
    assert labels[2, 2] == 0


def test_every_photograph_is_attributed():
    with open(SAMPLE / 'ATTRIBUTION.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    listed = {(row['split'], row['file_name'].split('.')[0]) for row in rows}
    assert listed == {(split, path.stem) for split in SPLITS for path in label_maps(split)}
    assert all(row['flickr_url'] and row['license_url'].startswith('http') for row in rows)
    # Attribution, with or without ShareAlike: both allow changed copies.
    assert {row['license_id'] for row in rows} <= {'4', '5'}
