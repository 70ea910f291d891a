"""Configs that compare networks on small public datasets, and the datasets."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmpretrain.models')

import torch
from mmengine.registry import MODELS, DefaultScope

import tinyvim_mm
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.models.layers import SS2D
from tinyvim_mm.recipes.configs import BENCHMARKS, list_configs, load_config
from tinyvim_mm.recipes.zoo import list_models
from tinyvim_mm.training.data.layout import check_data

PATHS = [path for path in list_configs(benchmarks=True) if path.parent == BENCHMARKS]
FOLDERS = [
    *('n01440764', 'n02102040', 'n02979186', 'n03000684', 'n03028079'),
    *('n03394916', 'n03417042', 'n03425413', 'n03445777', 'n03888257'),
]


def those_of(data):
    paths = [path for path in PATHS if path.stem.endswith(data)]
    return pytest.mark.parametrize('path', paths, ids=lambda path: path.stem)


def build(path):
    cfg = load_config(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        if cfg.default_scope == 'mmpretrain':
            cfg.model.data_preprocessor = cfg.data_preprocessor
        return cfg, MODELS.build(cfg.model)


def test_they_are_found_by_name_and_are_no_recipes():
    assert PATHS
    assert not {path.stem for path in PATHS}.intersection(list_models())


@those_of('imagenette')
def test_each_learns_ten_classes_with_the_same_recipe(path):
    if path.stem.startswith('swiftformer'):
        pytest.importorskip('timm')
    cfg, model = build(path)
    epochs = cfg.train_cfg.max_epochs
    assert cfg.param_scheduler[-1].end == epochs
    first = load_config(BENCHMARKS / f'tinyvim_s_{epochs}e_imagenette.py')
    for part in ('train_dataloader', 'test_dataloader', 'optim_wrapper', 'custom_hooks'):
        assert cfg[part] == first[part], part
    assert cfg.model.train_cfg == first.model.train_cfg
    assert f'_{epochs}e_' in path.stem
    if (teacher := model.teacher) is not None:
        assert teacher.classes == list(tinyvim_mm.Imagenette.IMAGENET_NUMBERS)
    with torch.no_grad():
        sample, _ = model.eval()(torch.rand(2, 3, 128, 128), mode='predict')
    assert sample.pred_score.shape == (10,)


@those_of('camvid')
def test_each_segments_eleven_classes_with_the_same_recipe(path):
    pytest.importorskip('mmseg')
    cfg, model = build(path)
    first = load_config(BENCHMARKS / 'fpn_tinyvim_s_camvid.py')
    for part in ('train_dataloader', 'test_dataloader', 'optim_wrapper', 'param_scheduler'):
        assert cfg[part] == first[part], part
    assert cfg.model.decode_head == first.model.decode_head
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters
    with torch.no_grad():
        maps = model.eval()(torch.rand(1, 3, 96, 128), mode='tensor')
    assert maps.shape == (1, 11, 24, 32)
    # What is measured in the end is looked at in the end only.
    prefixes = [
        cfg[f'{split}_dataloader'].dataset.data_prefix for split in ('train', 'val', 'test')
    ]
    assert [prefix.img_path.split('/')[1] for prefix in prefixes] == ['train', 'val', 'test']


def test_the_variants_scan_as_they_say():
    counts = {}
    for path in PATHS:
        if '_scan_' in path.stem or path.stem == 'tinyvim_s_15e_imagenette':
            _, model = build(path)
            counts[path.stem] = sum(isinstance(module, SS2D) for module in model.modules())
    assert counts == {
        'tinyvim_s_15e_imagenette': 5,
        'tinyvim_s_scan_all_15e_imagenette': 5,
        'tinyvim_s_scan_high_15e_imagenette': 5,
        'tinyvim_s_scan_both_15e_imagenette': 9,
        'tinyvim_s_scan_none_15e_imagenette': 0,
    }


def test_absent_data_are_described(tmp_path):
    cfg = load_config(BENCHMARKS / 'tinyvim_s_15e_imagenette.py')
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'none')
    with pytest.raises(UsageError, match=r'fastai/imagenette, imagenette2-160.tgz\) is expected'):
        check_data(cfg, ('train',))


def test_imagenette_has_the_classes_of_its_folders(tmp_path):
    for folder in FOLDERS:
        (tmp_path / 'val' / folder).mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(tmp_path / 'val' / folder / 'a.JPEG')
    dataset = tinyvim_mm.Imagenette(data_root=str(tmp_path), split='val')
    assert len(dataset) == len(dataset.IMAGENET_NUMBERS) == 10
    assert dataset[3]['gt_label'] == 3
    assert dataset.metainfo['classes'][3] == 'chain saw'
    pytest.importorskip('mmpretrain.datasets.categories')
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    for number, name in zip(dataset.IMAGENET_NUMBERS, dataset.metainfo['classes'], strict=True):
        assert name.lower() in IMAGENET_CATEGORIES[number].lower()


def test_camvid_ignores_what_is_void(tmp_path):
    pytest.importorskip('mmseg')
    for folder in ('images', 'annotations'):
        (tmp_path / folder / 'test').mkdir(parents=True)
    Image.new('RGB', (4, 3)).save(tmp_path / 'images' / 'test' / 'a.jpg')
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(labels).save(tmp_path / 'annotations' / 'test' / 'a.png')
    prefixes = dict(img_path='images/test', seg_map_path='annotations/test')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = tinyvim_mm.CamVid(
            data_root=str(tmp_path), data_prefix=prefixes, pipeline=pipeline
        )
    found = dataset[0]['gt_seg_map']
    assert found.ravel().tolist() == [*range(11), 255]
    assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette']) == 11
