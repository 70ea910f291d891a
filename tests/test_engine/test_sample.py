from pathlib import Path

import pytest

pytest.importorskip('mmdet')

from tinyvim_mm.core.compat import apply
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.paths import SAMPLE_COCO
from tinyvim_mm.recipes.configs import find_config, load_config
from tinyvim_mm.recipes.starting_weights import check_pretrained
from tinyvim_mm.toolboxes import mmdet, toolbox_of
from tinyvim_mm.training import sample
from tinyvim_mm.training.data.layout import check_data

PATH = find_config('mask_rcnn_tinyvim_b_1x_coco')


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    apply()
    return load_config(PATH)


def test_the_network_and_the_schedule_stay(cfg):
    original = cfg.to_dict()
    sample.apply_sample(cfg, PATH)
    now = cfg.to_dict()
    assert now['train_cfg'] == original['train_cfg']
    assert now['param_scheduler'][1] == original['param_scheduler'][1]
    for part in ('neck', 'rpn_head', 'roi_head', 'data_preprocessor'):
        assert now['model'][part] == original['model'][part]
    original['model']['backbone'].pop('init_cfg')
    assert now['model']['backbone'].pop('init_cfg') is None
    assert now['model']['backbone'] == original['model']['backbone']
    assert now['optim_wrapper']['optimizer']['type'] == 'AdamW'


def test_every_change_is_told_with_a_reason(cfg, monkeypatch):
    changes, sample_changes = [], mmdet.sample_changes

    def record(cfg, path):
        for change in sample_changes(cfg, path):
            changes.append(change)
            yield change

    monkeypatch.setattr(toolbox_of(cfg), 'sample_changes', record)
    told = sample.apply_sample(cfg, PATH)
    assert len(changes) > 20
    for change in changes:
        assert f'  {change.key} = ' in told
        assert change.reason in told
    assert 'training starts from RANDOM weights' in told


def test_all_data_exist_afterwards(cfg):
    sample.apply_sample(cfg, PATH)
    assert cfg.train_dataloader.dataset.type == 'RepeatDataset'
    assert cfg.train_dataloader.dataset.dataset.data_root == f'{SAMPLE_COCO}/'
    check_data(cfg, ('train', 'val', 'test'), '')
    check_pretrained(cfg)


def test_existing_weights_are_kept(cfg):
    file = Path(cfg.model.backbone.init_cfg.checkpoint)
    file.parent.mkdir()
    file.touch()
    assert 'RANDOM' not in sample.apply_sample(cfg, PATH)
    assert cfg.model.backbone.init_cfg.checkpoint == str(file)


def test_other_data_sets_are_refused(cfg):
    cfg.train_dataloader.dataset.type = 'LVISV1Dataset'
    with pytest.raises(
        UsageError, match=r'plain CocoDataset, and train_dataloader .*LVISV1Dataset'
    ):
        sample.apply_sample(cfg, PATH)


def test_a_long_schedule_is_refused(cfg):
    cfg.train_cfg.max_epochs = 300
    with pytest.raises(UsageError, match=r'keeps the schedule, .*\(300 epochs\) would take .*1x'):
        sample.apply_sample(cfg, PATH)


@pytest.mark.parametrize(
    'name', ['retinanet_tinyvim_b_1x_coco', 'cascade_mask_rcnn_tinyvim_b_1x_coco']
)
def test_other_detectors_have_a_sample_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    apply()
    cfg = load_config(find_config(name))
    sample.apply_sample(cfg, find_config(name))
    check_data(cfg, ('train', 'val', 'test'), '')
    stages = cfg.model.train_cfg.get('rcnn', [])
    assert [stage.sampler.num for stage in stages] == [64] * (3 if 'cascade' in name else 0)


def test_a_package_without_the_photographs_says_so(cfg, monkeypatch, tmp_path):
    monkeypatch.setattr(mmdet, 'SAMPLE_COCO', tmp_path / 'absent')
    with pytest.raises(UsageError, match=r'not at .*absent: .*part of the repository.*in a clone'):
        sample.apply_sample(cfg, PATH)
