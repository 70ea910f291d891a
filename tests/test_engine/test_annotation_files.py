"""Annotation files that cannot be used are named before a run starts."""

import json

import numpy as np
import pytest

pytest.importorskip('mmdet')

from mmengine.registry import DefaultScope

from tinyvim_mm.core.errors import BadSampleError, UsageError
from tinyvim_mm.training.data.coco import check_annotations
from tinyvim_mm.training.data.masks import fault_of_mask
from tinyvim_mm.training.runner import ToolRunner


def content():
    """A file of two pictures and two objects."""
    box = dict(category_id=1, bbox=[1, 2, 30, 20], area=600, iscrowd=0)
    return dict(
        images=[dict(id=n, file_name=f'{n}.jpg', width=64, height=64) for n in (1, 2)],
        annotations=[dict(box, id=n, image_id=n) for n in (1, 2)],
        categories=[dict(id=1, name='person'), dict(id=7, name='bicycle')],
    )


def change(section, number=0, **values):
    def apply(found):
        found[section][number].update(values)

    return apply


def drop(name, key=None):
    def apply(found):
        if key is None:
            del found[name]
        else:
            del found[name][0][key]

    return apply


def each(name, **values):
    def apply(found):
        for entry in found[name]:
            entry.update({k: f(entry[k]) for k, f in values.items()})

    return apply


CASES = {
    'no categories': (drop('categories'), 'has no "categories"'),
    'no images': (drop('images'), 'has no "images"'),
    'no annotations': (drop('annotations'), 'has no "annotations"'),
    'a section of another type': (lambda c: c.update(images={}), '"images" is a dict'),
    'an entry of another type': (lambda c: c['annotations'].append(3), 'that are no object'),
    'no bbox': (drop('annotations', 'bbox'), '1 x annotations without "bbox"'),
    'no area': (drop('annotations', 'area'), '1 x annotations without "area"'),
    'no file name': (drop('images', 'file_name'), 'images without "file_name"'),
    'no width': (drop('images', 'width'), 'images without "width"'),
    'file name of another type': (change('images', file_name=5), '"file_name" is no text'),
    'NaN box': (change('annotations', bbox=[float('nan'), 1, 2, 3]), 'not 4 finite numbers'),
    'infinite box': (change('annotations', bbox=[float('inf'), 1, 2, 3]), 'not 4 finite numbers'),
    'box of texts': (change('annotations', bbox=['1', '2', '3', '4']), 'not 4 finite numbers'),
    'box of 3': (change('annotations', bbox=[1, 2, 3]), 'not 4 finite numbers'),
    'huge box': (change('annotations', bbox=[10**400, 2, 3, 4]), 'not 4 finite numbers'),
    'NaN area': (change('annotations', area=float('nan')), '"area" is no finite number'),
    'same image id': (change('images', 1, id=1), 'images that share an id'),
    'same annotation id': (change('annotations', 1, id=1), 'annotations that share an id'),
    'same category id': (change('categories', 1, id=1), 'categories that share an id'),
    'same category name': (change('categories', 1, name='person'), 'share a name'),
    'id of a list': (change('images', id=[1]), 'neither a whole number nor a text'),
    'text ids': (each('annotations', image_id=str), 'the file lists the number 1, without'),
    'number ids': (each('images', id=str), 'the file lists the text "1", in quotation marks'),
    'unknown categories': (each('annotations', category_id=lambda _: 9), 'category_id 9'),
}


def build(folder, found, classes=('person', 'bicycle'), training=True, sampler='DefaultSampler'):
    text = found if isinstance(found, bytes) else json.dumps(found).encode()
    (folder / 'a.json').write_bytes(text)
    dataset = dict(
        type='CocoDataset',
        data_root=str(folder),
        ann_file='a.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=classes),
        pipeline=[dict(type='LoadImageFromFile')],
    )
    runner = ToolRunner.__new__(ToolRunner)
    runner._building_train_loop = training
    sampler = dict(type=sampler)
    if sampler['type'] != 'DefaultSampler':
        dataset = dict(type='ConcatDataset', datasets=[dataset, dataset])
        sampler.update(batch_size=2, source_ratio=[1, 1])
    loader = dict(dataset=dataset, batch_size=1, num_workers=0, sampler=sampler)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return runner.build_dataloader(loader).dataset


@pytest.mark.parametrize('case', CASES)
def test_what_a_file_lacks_is_named_and_counted(tmp_path, case):
    apply, words = CASES[case]
    found = content()
    apply(found)
    with pytest.raises(UsageError) as caught:
        build(tmp_path, found)
    assert words in str(caught.value)
    assert str(tmp_path / 'a.json') in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (b'{"images": [', 'is not JSON'),
        (b'\xff\xfe{}', 'is not UTF-8 text (byte 0 is 0xff)'),
        (b'', 'is not JSON'),
        (b'[1, 2]', 'is a list'),
        (b'[' * 100_000, 'is nested too deeply'),
    ],
    ids=['cut off', 'other encoding', 'empty', 'list', 'deep'],
)
def test_files_that_are_no_json_object(tmp_path, text, words):
    with pytest.raises(UsageError) as caught:
        build(tmp_path, text)
    assert f'{tmp_path / "a.json"} {words}' in str(caught.value)


def test_what_is_right_or_does_not_count_passes(tmp_path):
    found = content()
    found['annotations'] += [
        dict(id=3, image_id=1, category_id=99, bbox=[1, 2, 3, 4], area=12),
        dict(id=4, image_id=1, category_id=1, ignore=1),
    ]
    assert len(build(tmp_path, found)) == 2
    assert check_annotations(content(), 'f').counts == {}
    loose = check_annotations(found, 'f')
    assert [*loose.counts.values()] == [1]


def test_the_readers_of_mmdet_are_left_as_they_were(tmp_path):
    from mmdet.datasets.api_wrappers import COCO

    before = COCO.__init__, COCO.createIndex, COCO.get_cat_ids
    build(tmp_path, content())
    assert before == (COCO.__init__, COCO.createIndex, COCO.get_cat_ids)


@pytest.mark.parametrize(
    'classes', [('bicycle', 'person'), ('cat', 'person', 'bicycle')], ids=['order', 'gap']
)
def test_classes_that_would_be_numbered_otherwise_are_refused(tmp_path, classes):
    with pytest.raises(UsageError, match=r"classes=\('person', 'bicycle',\)"):
        build(tmp_path, content(), classes)


def test_a_test_without_annotations_can_be_read_and_not_scored(tmp_path):
    found = content()
    del found['annotations']
    assert len(build(tmp_path, found, training=False)) == 2
    runner = ToolRunner.__new__(ToolRunner)
    metric = dict(type='CocoMetric', ann_file=str(tmp_path / 'a.json'), metric='bbox')
    with DefaultScope.overwrite_default_scope('mmdet'):
        with pytest.raises(UsageError, match='has no "annotations"'):
            runner.build_evaluator(metric)
        runner.build_evaluator(dict(metric, format_only=True, outfile_prefix='x'))


def test_a_training_with_unlabeled_pictures_needs_no_annotations_of_them(tmp_path):
    found = content()
    del found['annotations']  # as mmdet's guide to semi-supervised training has it
    assert len(build(tmp_path, found, sampler='GroupMultiSourceSampler')) == 4


def test_the_metrics_of_a_whole_evaluator_are_looked_at(tmp_path):
    found = content()
    build(tmp_path, found)
    runner = ToolRunner.__new__(ToolRunner)
    metric = dict(type='CocoMetric', ann_file=str(tmp_path / 'a.json'), metric='segm')
    with DefaultScope.overwrite_default_scope('mmdet'):
        with pytest.raises(UsageError, match='2 x annotations without "segmentation"'):
            runner.build_evaluator(dict(type='Evaluator', metrics=[metric]))
        del found['annotations']
        build(tmp_path, found, training=False)
        writing = dict(metric, format_only=True, outfile_prefix='x')
        runner.build_evaluator(dict(metrics=[writing]))


def test_what_a_score_needs_is_looked_at_before_the_training(tmp_path):
    found = content()
    del found['annotations'][0]['iscrowd']
    build(tmp_path, found)
    runner = ToolRunner.__new__(ToolRunner)
    metric = dict(type='CocoMetric', ann_file=str(tmp_path / 'a.json'), metric=['bbox', 'segm'])
    with (
        DefaultScope.overwrite_default_scope('mmdet'),
        pytest.raises(UsageError) as caught,
    ):
        runner.build_evaluator(metric)
    assert '1 x annotations without "iscrowd"' in str(caught.value)
    assert '2 x annotations without "segmentation"' in str(caught.value)


@pytest.mark.parametrize('name', ['images', 'categories'])
def test_ids_may_be_written_as_1_0(tmp_path, name):
    found = content()
    each(name, id=float)(found)
    assert len(build(tmp_path, found)) == 2
    change(name, id=1.5)(found)
    with pytest.raises(UsageError, match='neither a whole number nor a text'):
        build(tmp_path, found)


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('../../secret.jpg', 'names a file outside of the folder'),
        ('/dev/zero', 'names a file outside of the folder'),
        ('http://127.0.0.1:9/a.jpg', 'names an address'),
    ],
)
def test_a_file_outside_of_the_folder_is_not_opened(tmp_path, name, words):
    found = content()
    found['images'][0]['file_name'] = name
    with pytest.raises(BadSampleError, match=words):
        build(tmp_path, found)[0]


OUTLINES = {
    'NaN': [[float('nan'), 0, 1, 1, 2, 2]],
    'infinite': [[float('inf'), 0, 1, 1, 2, 2]],
    'far away': [[1e9, 0, 1, 1, 2, 2]],
    'texts': [['a'] * 6],
    'flat': [1, 2, 3, 4, 5, 6],
    'size': dict(size=[10**6, 10**6], counts=[0, 5]),
    'no size': dict(counts=[0, 5]),
    'too long': dict(size=[64, 64], counts=[0, 10**9]),
    'negative': dict(size=[64, 64], counts=[5000, -904]),
    'text': 'outline',
}


@pytest.mark.parametrize('case', OUTLINES)
def test_outlines_that_would_end_the_process_are_not_drawn(case):
    assert fault_of_mask(OUTLINES[case], 64, 64)
    assert not fault_of_mask([[0, 0, 64, 0, 64, 64]], 64, 64)
    assert not fault_of_mask(dict(size=[64, 64], counts=[0, 64 * 64]), 64, 64)


def test_masks_of_arrays_are_those_of_a_dataset_of_ones_own():
    outline = np.array([0, 0, 64, 0, 64, 64], np.float32)
    assert not fault_of_mask([outline], 64, 64)
    assert not fault_of_mask([list(outline)], 64, 64)
    assert not fault_of_mask(dict(size=np.array([64, 64]), counts=[0, np.int64(64 * 64)]), 64, 64)
    assert not fault_of_mask(np.zeros((64, 64), np.uint8), 64, 64)
    assert 'has a point at' in fault_of_mask([outline * np.nan], 64, 64)


def test_other_lists_are_named_when_they_cannot_be_read(tmp_path):
    pytest.importorskip('mmpretrain.datasets')
    (tmp_path / 'list.txt').write_text('a.jpg\n')
    dataset = dict(type='CustomDataset', data_root=str(tmp_path), ann_file='list.txt')
    loader = dict(dataset=dataset, batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler'))
    runner = ToolRunner.__new__(ToolRunner)
    with (
        DefaultScope.overwrite_default_scope('mmpretrain'),
        pytest.raises(UsageError, match=r'CustomDataset cannot read the annotation file .*list'),
    ):
        runner.build_dataloader(loader)


@pytest.mark.parametrize('error', [ImportError('no such reader'), MemoryError()])
def test_what_is_no_fault_of_a_file_is_not_blamed_on_it(error, tmp_path, monkeypatch):
    def load_data_list(self):
        raise error

    monkeypatch.setattr('mmdet.datasets.CocoDataset.load_data_list', load_data_list)
    with pytest.raises(type(error)):
        build(tmp_path, content())
