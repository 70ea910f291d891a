from pathlib import Path

import pytest

pytest.importorskip('mmdet')

from tinyvim_mm.compat import apply
from tinyvim_mm.engine import UsageError, sample
from tinyvim_mm.engine.configs import find_config, load_config
from tinyvim_mm.engine.data_check import check_data, check_pretrained
from tinyvim_mm.engine.paths import SAMPLE_COCO

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


def test_every_change_is_printed_with_a_reason(cfg, capsys):
    sample.apply_sample(cfg, PATH)
    printed = capsys.readouterr().out
    for change in sample.MMDET_CHANGES:
        assert f'  {change.key} = ' in printed
        assert change.reason in printed
    assert 'training starts from RANDOM weights' in printed


def test_all_data_exist_afterwards(cfg):
    sample.apply_sample(cfg, PATH)
    assert cfg.train_dataloader.dataset.type == 'RepeatDataset'
    assert cfg.train_dataloader.dataset.dataset.data_root == f'{SAMPLE_COCO}/'
    check_data(cfg, ('train', 'val', 'test'), '')
    check_pretrained(cfg)


def test_existing_weights_are_kept(cfg, capsys):
    file = Path(cfg.model.backbone.init_cfg.checkpoint)
    file.parent.mkdir()
    file.touch()
    sample.apply_sample(cfg, PATH)
    assert cfg.model.backbone.init_cfg.checkpoint == str(file)
    assert 'RANDOM' not in capsys.readouterr().out


def test_other_toolboxes_are_refused(cfg):
    cfg.default_scope = 'mmseg'
    with pytest.raises(
        UsageError,
        match=r'photographs for mmdet only, and .*_b_1x_coco\.py belongs to mmseg: .*without',
    ):
        sample.apply_sample(cfg, PATH)


def test_other_data_sets_are_refused(cfg):
    cfg.train_dataloader.dataset.type = 'LVISV1Dataset'
    with pytest.raises(
        UsageError, match=r'plain CocoDataset, and train_dataloader .*LVISV1Dataset'
    ):
        sample.apply_sample(cfg, PATH)


def test_a_package_without_the_photographs_says_so(cfg, monkeypatch, tmp_path):
    monkeypatch.setattr(sample, 'SAMPLE_COCO', tmp_path / 'absent')
    with pytest.raises(UsageError, match=r'not at .*absent: .*part of the repository.*in a clone'):
        sample.apply_sample(cfg, PATH)
