"""Pictures and annotations that cannot be used, or look as if: each toolbox, each case."""

import copy
import json
import pickle
import re
import shutil

import numpy as np
import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain.models')

import bad_pictures
import torch
from bad_pictures import BROKEN, EXTREME, JPEG, SIZE, UNUSUAL
from mmengine.dataset import BaseDataset
from mmengine.fileio import FileClient
from mmengine.fileio.backends import BaseStorageBackend, registry_utils
from mmengine.registry import DATASETS, MODELS, DefaultScope
from PIL import Image
from tool_runs import run_sample
from torch.utils.data import DataLoader

from tinyvim_mm.commands import test as test_tool
from tinyvim_mm.commands import train
from tinyvim_mm.core.errors import BadSampleError, UsageError
from tinyvim_mm.core.paths import SAMPLE_IMAGENET
from tinyvim_mm.training.config import prepare_config
from tinyvim_mm.training.data.guard import MOST_IN_A_ROW, SkipLog, guard_samples
from tinyvim_mm.training.runner import ToolRunner

CONFIGS = {
    'mmdet': 'mask_rcnn_tinyvim_s_1x_coco',
    'mmseg': 'fpn_tinyvim_s_40k_ade20k',
    'mmpretrain': 'tinyvim_s_300e_in1k',
}
OPTIONS = {
    'mmdet': ['model.test_cfg.rpn.max_per_img=50'],
    'mmseg': [
        'train_dataloader.dataset.pipeline.2.scale=(128,64)',
        'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
        'model.data_preprocessor.size=(64,64)',
        'test_dataloader.dataset.pipeline.1.scale=(128,64)',
    ],
    'mmpretrain': ['train_dataloader.dataset.pipeline.1.scale=64'],
}
TOOLBOXES = pytest.mark.parametrize('scope', list(CONFIGS))
SPLITS = pytest.mark.parametrize('split', ['train', 'test'])
RLE = dict(counts=[0, SIZE[0] * SIZE[1]], size=[SIZE[1], SIZE[0]])
BOX = dict(bbox=[10, 10, 30, 20], category_id=1, iscrowd=0, segmentation=RLE)


@pytest.fixture(scope='module')
def recipes():
    """The recipes' settings for the sample photographs."""
    return {
        scope: prepare_config(name, sample=True, options=_options(*OPTIONS[scope]))
        for scope, name in CONFIGS.items()
    }


def _options(*pairs):
    return train.build_parser().parse_args(['x', '--cfg-options', *pairs]).options


class Data:
    """A dataset of two or three pictures in one toolbox's layout; the second is `victim`."""

    def __init__(self, scope, cfg, folder):
        self.scope, self.cfg, self.folder = scope, cfg, folder
        self.boxes = [BOX]
        self.size = SIZE
        places = {'mmdet': '{}2017', 'mmseg': 'images/{}', 'mmpretrain': '{}/dog'}
        names = {
            'mmdet': dict(train='train', test='val'),
            'mmseg': dict(train='training', test='validation'),
            'mmpretrain': dict(train='train', test='val'),
        }
        self.names = names[scope]
        self.places = {s: folder / places[scope].format(n) for s, n in self.names.items()}
        for split, place in self.places.items():
            place.mkdir(parents=True)
            for name in ('a.jpg', 'victim.jpg', 'z.jpg'):
                (place / name).write_bytes(JPEG)
                if scope == 'mmseg':
                    self.write_map(Image.new('L', SIZE, 3), split, name)

    def victim(self, split):
        return self.places[split] / 'victim.jpg'

    def label_map(self, split, name='victim.jpg'):
        folder = self.folder / 'annotations' / self.names[split]
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / name).with_suffix('.png')

    def write_map(self, image, split, name='victim.jpg'):
        image.save(self.label_map(split, name))

    def put(self, content, split):
        """Replace the picture; its annotation stays."""
        if content is None:
            self.victim(split).unlink()
        else:
            self.victim(split).write_bytes(content)

    def resize(self, size, split):
        """Replace the picture and its annotation."""
        self.put(bad_pictures._saved(bad_pictures.photograph(size), 'PNG'), split)
        self.size = size
        self.boxes = [dict(BOX, bbox=[0, 0, *size], segmentation=[[0, 0, 1, 0, 1, 1]])]
        if self.scope == 'mmseg':
            self.write_map(Image.new('L', size, 3), split)

    def build(self, split, log=None, **settings):
        """Build and guard it as the tools do."""
        dataset = self.cfg[f'{split}_dataloader'].dataset
        if self.scope == 'mmdet':
            dataset = dataset.get('dataset', dataset)
            self._write_boxes(split)
        dataset = {**dataset, 'data_root': str(self.folder), **settings}
        if self.scope == 'mmpretrain':
            dataset['metainfo'] = dict(classes=['dog'])
        with DefaultScope.overwrite_default_scope(self.scope):
            built = DATASETS.build(dataset)
        guard_samples(built, split == 'train', log)
        return built

    def _write_boxes(self, split):
        files = {'a.jpg': ([BOX], SIZE), 'victim.jpg': (self.boxes, self.size)}
        files['z.jpg'] = ([BOX], SIZE)
        images = [
            dict(id=number, file_name=name, width=width, height=height)
            for number, (name, (_, (width, height))) in enumerate(files.items())
        ]
        annotations = [
            dict(dict(area=100), **box, image_id=number)
            for number, (boxes, _) in enumerate(files.values())
            for box in boxes
        ]
        for number, annotation in enumerate(annotations):
            annotation['id'] = number
        path = self.folder / 'annotations' / f'instances_{self.names[split]}2017.json'
        path.parent.mkdir(exist_ok=True)
        categories = [dict(id=1, name='person')]
        content = dict(images=images, annotations=annotations, categories=categories)
        path.write_text(json.dumps(content))


@pytest.fixture
def data(scope, recipes, tmp_path):
    return Data(scope, copy.deepcopy(recipes[scope]), tmp_path)


@pytest.fixture
def detection(recipes, tmp_path):
    return Data('mmdet', copy.deepcopy(recipes['mmdet']), tmp_path)


@pytest.fixture
def segmentation(recipes, tmp_path):
    return Data('mmseg', copy.deepcopy(recipes['mmseg']), tmp_path)


def refused(dataset, index=1):
    with pytest.raises(BadSampleError) as caught:
        dataset[index]
    return str(caught.value)


@TOOLBOXES
@SPLITS
@pytest.mark.parametrize('case', list(BROKEN))
def test_a_broken_picture_is_named(data, split, case):
    content, words = BROKEN[case]
    dataset = data.build(split)  # a missing file is not seen before: folders are listed here
    data.put(content, split)
    message = refused(dataset)
    assert f'{data.victim(split)}: {words}' in message
    assert ('--on-bad-sample skip' in message) == (split == 'train')
    assert dataset[0]['inputs'].shape[0] == 3


@TOOLBOXES
@pytest.mark.parametrize('case', list(UNUSUAL))
def test_an_unusual_picture_is_read_in_three_channels(data, case):
    data.put(UNUSUAL[case], 'test')
    dataset = data.build('test')
    usual, unusual = (dataset[n]['inputs'].float() for n in (0, 1))
    assert usual.shape == unusual.shape
    assert usual.shape[0] == 3
    # Light and dark are where they were, whatever became of the colors.
    pair = torch.stack([usual.mean(0).flatten(), unusual.mean(0).flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.9


@TOOLBOXES
@pytest.mark.parametrize('case', ['empty', 'jpeg-cut-off', 'png-chunk-of-2-gb'])
def test_a_broken_picture_is_not_decoded(data, case, monkeypatch):
    """OpenCV would take as much memory as it claims."""

    def decode(*args, **kwargs):
        raise AssertionError('decoded')

    data.put(BROKEN[case][0], 'train')
    monkeypatch.setattr('cv2.imdecode', decode)
    assert 'decoded' not in refused(data.build('train'))


@TOOLBOXES
@SPLITS
def test_a_rotation_in_the_exif_data(data, split):
    data.put(bad_pictures.rotated(), split)
    dataset = data.build(split)
    if data.scope == 'mmpretrain':  # no annotation lies on the pixels
        assert tuple(dataset[1]['data_samples'].ori_shape) == SIZE
        return
    message = refused(dataset)
    place = data.victim(split) if data.scope == 'mmdet' else data.label_map(split)
    assert f'{place}: ' in message
    assert 'Height and width are exchanged: a rotation in the EXIF data' in message


def build_extreme(data, case):
    """With the scales of the recipes: those for the sample photographs are smaller."""
    data.resize(EXTREME[case], 'train')
    pipeline = {
        'mmdet': ('pipeline.2.scale', (1333, 800)),
        'mmseg': ('pipeline.2.scale', (2048, 512)),
        'mmpretrain': ('pipeline.1.scale', 64),
    }[data.scope]
    prefix = 'train_dataloader.dataset.' + 'dataset.' * (data.scope == 'mmdet')
    data.cfg.merge_from_dict({prefix + pipeline[0]: pipeline[1]})
    # mmdet leaves sides below 32 pixels out of a training.
    return data.build('train', **dict(filter_cfg=None) if data.scope == 'mmdet' else {})


@TOOLBOXES
@pytest.mark.parametrize('case', list(EXTREME))
def test_extreme_pictures(data, case):
    dataset = build_extreme(data, case)
    if data.scope == 'mmseg' and case == '1x1':
        assert f'{data.label_map("train")}: it is damaged or no label map' in refused(dataset)
    else:
        assert 0 not in dataset[1]['inputs'].shape


@TOOLBOXES
def test_the_networks_learn_from_an_extreme_picture(data, recipes):
    sample = build_extreme(data, '10000x10')[1]
    batch = {key: [value] * 2 for key, value in sample.items()}
    settings = dict(recipes[data.scope].model)
    if data.scope == 'mmpretrain':
        settings['data_preprocessor'] = recipes[data.scope].data_preprocessor
    with DefaultScope.overwrite_default_scope(data.scope):
        model = MODELS.build(settings)
    with torch.no_grad():
        losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
    values = [torch.as_tensor(value).sum() for value in torch.utils._pytree.tree_leaves(losses)]
    assert torch.stack(values).isfinite().all()


def test_a_side_that_scaling_makes_vanish_is_named(detection):
    detection.resize(EXTREME['10000x10'], 'test')
    message = refused(detection.build('test'))
    assert f'{detection.victim("test")}: Resize failed on it' in message


# ----------------------------------------------------------------------------
# Detection
# ----------------------------------------------------------------------------


def objects(sample):
    return len(sample['data_samples'].gt_instances)


def test_pictures_without_objects_are_left_out_of_training_as_mmdet_says(detection):
    detection.boxes = []
    assert len(detection.build('train')) == 2
    assert len(detection.build('test')) == 3
    assert objects(detection.build('train', filter_cfg=None)[1]) == 0


def test_boxes_outside_the_picture_are_dropped_and_others_clipped(detection):
    outside = dict(BOX, bbox=[500, 500, 20, 20])
    across = dict(BOX, bbox=[118, 86, 60, 60])
    detection.boxes = [outside, across]
    sample = detection.build('train')[1]
    height, width = sample['data_samples'].img_shape
    boxes = sample['data_samples'].gt_instances.bboxes.tensor
    assert boxes.shape == (1, 4)
    assert boxes[0, 2:].tolist() == [width, height]


def test_crowds_are_ignored_and_no_objects(detection):
    detection.boxes = [dict(BOX, iscrowd=1)]
    sample = detection.build('train')[1]['data_samples']
    assert len(sample.gt_instances) == 0
    assert len(sample.ignored_instances) == 1


def test_unknown_categories_do_not_count(detection):
    detection.boxes = [BOX, dict(BOX, category_id=4711)]
    assert objects(detection.build('train')[1]) == 1


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_file_whose_categories_are_all_unknown_is_refused(detection, wrapped):
    detection.build('train')
    dataset = detection.cfg.train_dataloader.dataset.dataset
    dataset.update(data_root=str(detection.folder), metainfo=dict(classes=['unicorn']))
    if wrapped:
        dataset = dict(type='RepeatDataset', times=2, dataset=dataset)
    loader = dict(dataset=dataset, batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler'))
    runner = ToolRunner.__new__(ToolRunner)
    words = (
        'CocoDataset has no sample: annotations/instances_train2017.json lists none, or its '
        "filter_cfg leaves none. Annotations whose category is not one of the dataset's classes"
    )
    with (
        DefaultScope.overwrite_default_scope('mmdet'),
        pytest.raises(UsageError, match=re.escape(words)),
    ):
        runner.build_dataloader(loader)


def test_a_mask_of_another_size_is_refused(detection):
    width, height = SIZE
    detection.boxes = [BOX, dict(BOX, segmentation=dict(RLE, size=[width, height]))]
    message = refused(detection.build('train'))
    assert f'{detection.victim("train")}: the mask of object 1 was drawn on 96x128' in message


def test_an_object_without_a_mask_is_named(detection):
    detection.boxes = [{key: value for key, value in BOX.items() if key != 'segmentation'}]
    message = refused(detection.build('train'))
    assert (
        f"{detection.victim('train')}: LoadAnnotations failed on it (KeyError: 'mask')" in message
    )


# ----------------------------------------------------------------------------
# Segmentation
# ----------------------------------------------------------------------------


def gray(size=SIZE, value=3, bits=8):
    return Image.fromarray(np.full(size[::-1], value, np.uint16 if bits == 16 else np.uint8))


BAD_MAPS = {
    'size': (gray((64, 96)), 'the label map has 64x96 pixels, and the picture has 128x96'),
    'class': (gray(value=151), 'the label map holds class 150, counted from 0, and there are 150'),
    'colors': (Image.new('RGB', SIZE), 'the label map has 3 channels'),
    '16-bit': (gray(value=3, bits=16), 'the label map has 16 bits'),
}


@SPLITS
@pytest.mark.parametrize('case', list(BAD_MAPS))
def test_a_bad_label_map_is_named(segmentation, split, case):
    image, words = BAD_MAPS[case]
    segmentation.write_map(image, split)
    message = refused(segmentation.build(split))
    assert f'{segmentation.label_map(split)}: {words}' in message


@SPLITS
@pytest.mark.parametrize(
    ('keep', 'words'),
    [(None, 'there is no such file'), (0, 'the file is empty'), (0.5, 'the PNG is cut off')],
    ids=['missing', 'empty', 'cut-off'],
)
def test_a_broken_label_map_is_named(segmentation, split, keep, words):
    path = segmentation.label_map(split)
    content = path.read_bytes()
    path.unlink()
    if keep is not None:
        path.write_bytes(content[: int(keep * len(content))])
    assert f'{path}: {words}' in refused(segmentation.build(split))


def test_a_picture_with_nothing_labeled_is_used(segmentation):
    segmentation.write_map(gray(value=0), 'train')
    labels = segmentation.build('train')[1]['data_samples'].gt_sem_seg.data
    assert (labels == 255).all()


# ----------------------------------------------------------------------------
# Classification
# ----------------------------------------------------------------------------


@SPLITS
@pytest.mark.parametrize('label', [1, -1])
def test_a_class_that_does_not_exist_is_named(recipes, tmp_path, split, label):
    data = Data('mmpretrain', copy.deepcopy(recipes['mmpretrain']), tmp_path)
    (tmp_path / 'list.txt').write_text(f'dog/a.jpg 0\ndog/victim.jpg {label}\n')
    message = refused(data.build(split, ann_file='list.txt'))
    assert f'{data.victim(split)}: its class is {label}, counted from 0, and there are 1' in message


# ----------------------------------------------------------------------------
# Skipping
# ----------------------------------------------------------------------------


@TOOLBOXES
def test_a_skipped_sample_is_replaced_by_the_next_and_listed(data, tmp_path):
    dataset = data.build('train', SkipLog(tmp_path / 'skipped.txt'))
    data.put(b'', 'train')
    for _ in range(2):
        np.random.seed(0)
        torch.manual_seed(0)
        expected = dataset[2]
        np.random.seed(0)
        torch.manual_seed(0)
        found = dataset[1]
        assert found['data_samples'].img_path == str(data.places['train'] / 'z.jpg')
        assert torch.equal(found['inputs'], expected['inputs'])
    lines = (tmp_path / 'skipped.txt').read_text().splitlines()
    assert lines == [f'{data.victim("train")}\tthe file is empty']


def test_a_test_skips_nothing(detection, tmp_path):
    dataset = detection.build('test', SkipLog(tmp_path / 'skipped.txt'))
    detection.put(b'', 'test')
    assert 'would compare with no other' in refused(dataset)


def test_a_pipeline_that_always_fails_is_not_skipped_for_ever(detection, tmp_path):
    dataset = detection.build('train', SkipLog(tmp_path / 'skipped.txt'))
    for name in ('a.jpg', 'victim.jpg', 'z.jpg'):
        (detection.places['train'] / name).unlink()
    message = refused(dataset)
    assert f'{MOST_IN_A_ROW} samples in a row cannot be used' in message


def test_worker_processes_name_and_list_as_well(detection, tmp_path):
    log = SkipLog(tmp_path / 'skipped.txt')
    dataset = detection.build('train', log)
    detection.put(b'', 'train')
    loader = DataLoader(dataset, batch_size=3, num_workers=1, collate_fn=list)
    assert len(next(iter(loader))) == 3
    assert log.lines() == [f'{detection.victim("train")}\tthe file is empty']
    strict = DataLoader(detection.build('train'), batch_size=3, num_workers=1, collate_fn=list)
    with pytest.raises(BadSampleError) as caught:
        next(iter(strict))
    assert str(caught.value).startswith('bad sample of CocoDataset: ')
    assert 'Traceback' not in str(caught.value)


def test_an_exchanged_pipeline_is_looked_at_too(detection):
    from mmengine.dataset import Compose

    dataset = detection.build('train')
    detection.put(b'', 'train')
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset.pipeline = Compose([dict(type='LoadImageFromFile')])
    assert 'the file is empty' in refused(dataset)


def test_the_guard_travels_to_other_processes(detection):
    dataset = detection.build('train')
    detection.put(b'', 'train')
    assert 'the file is empty' in refused(pickle.loads(pickle.dumps(dataset)))


# ----------------------------------------------------------------------------
# Through the tools
# ----------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path):
    """Sample photographs for classification, of which the fourth is cut off."""
    root = tmp_path / 'imagenet'
    shutil.copytree(SAMPLE_IMAGENET, root)
    victim = sorted((root / 'train').glob('*/*.jpg'))[3]
    victim.write_bytes(victim.read_bytes()[:500])
    return root, victim


def train_on(root, folder, *argv):
    options = [
        f'train_dataloader.dataset.data_root={root}',
        'train_dataloader.dataset.pipeline.1.scale=64',
        'train_dataloader.dataset.indices=4',
        'train_dataloader.batch_size=2',
        'test_dataloader.dataset.pipeline.1.scale=71',
        'test_dataloader.dataset.pipeline.2.crop_size=64',
        'test_dataloader.dataset.indices=1',
        'train_cfg.max_epochs=1',
    ]
    run_sample(train.main, CONFIGS['mmpretrain'], '--work-dir', folder, *argv, options=options)


def test_a_training_stops_at_a_bad_picture_and_names_it(damaged, tmp_path, capsys):
    root, victim = damaged
    with pytest.raises(SystemExit) as caught:
        train_on(root, tmp_path / 'work')
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert f'bad sample of ImageNet: {victim}: the JPEG is cut off' in error
    assert '--on-bad-sample skip' in error


def test_a_training_goes_on_without_a_bad_picture(damaged, tmp_path, capsys):
    root, victim = damaged
    train_on(root, tmp_path / 'work', '--on-bad-sample', 'skip')
    lines = (tmp_path / 'work' / 'skipped_samples.txt').read_text().splitlines()
    assert [line.split('\t')[0] for line in lines] == [str(victim)]
    output = capsys.readouterr()
    assert '1 samples were skipped, see ' in output.out + output.err
    assert (tmp_path / 'work' / 'epoch_1.pth').is_file()


def test_an_evaluation_refuses_to_skip(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        test_tool.main([CONFIGS['mmpretrain'], 'x.pth', '--on-bad-sample', 'skip'])
    assert 'scores over fewer pictures than the dataset has' in capsys.readouterr().err


class OnePicture(BaseStorageBackend):
    """One of a user's own, for which paths are keys."""

    def get(self, filepath):
        return JPEG

    def get_text(self, filepath):
        raise NotImplementedError


@pytest.mark.parametrize('name', ['backend_args', 'file_client_args'])
def test_pictures_of_another_backend_need_no_file(name, tmp_path, monkeypatch):
    monkeypatch.setitem(registry_utils.backends, 'one', OnePicture)
    monkeypatch.setitem(FileClient._backends, 'one', OnePicture)
    (tmp_path / 'list.json').write_text(
        json.dumps(dict(metainfo={}, data_list=[dict(img_path='a.jpg')]))
    )
    load = {'type': 'LoadImageFromFile', name: dict(backend='one')}
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = BaseDataset('list.json', data_root=str(tmp_path), pipeline=[load])
    guard_samples(dataset, training=True)
    assert dataset[0]['img'].shape == (*SIZE[::-1], 3)
