import pytest

pytest.importorskip('mmengine')

from mmengine.config import Config

from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.paths import SAMPLE_COCO
from tinyvim_mm.recipes.starting_weights import check_pretrained, existing_checkpoint
from tinyvim_mm.training.data.layout import check_data, datasets_of
from tinyvim_mm.weights.downloads import allowing

COMMAND = 'python tools/train.py a.py'


def coco(root, **rest):
    return dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        **rest,
    )


def config(dataset, **rest):
    return Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset), **rest))


def check(cfg, *splits):
    check_data(cfg, splits or ('train', 'val'), COMMAND)


def test_complete_data_pass():
    check(config(coco(SAMPLE_COCO)))


def test_a_missing_root_tells_where_coco_is_expected_and_how_to_use_the_sample(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        check(config(coco('data/coco/')))
    message = str(caught.value)
    assert 'train_dataloader: folder data/coco/' in message
    assert 'COCO 2017 (https://cocodataset.org) is expected at data/coco/ with' in message
    assert 'annotations/instances_val2017.json' in message
    assert 'train2017/*.jpg, val2017/*.jpg' in message
    assert f'seen from the current folder, {tmp_path}' in message
    assert message.endswith(f'instead:\n  {COMMAND} --sample')


def test_annotation_file_and_folder_are_named_one_by_one(tmp_path):
    with pytest.raises(UsageError) as caught:
        check(config(coco(tmp_path)))
    assert f'annotation file {tmp_path}/annotations/instances_train2017.json' in str(caught.value)
    assert f'folder {tmp_path}/train2017' in str(caught.value)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda d: dict(type='RepeatDataset', times=2, dataset=d),
        lambda d: dict(type='ConcatDataset', datasets=[coco(SAMPLE_COCO), d]),
        lambda d: dict(
            type='MultiImageMixDataset',
            dataset=dict(type='ConcatDataset', datasets=[coco(SAMPLE_COCO), d]),
        ),
    ],
    ids=['repeat', 'concat', 'nested'],
)
def test_wrapped_data_sets_are_seen_through(wrap, tmp_path):
    missing = tmp_path / 'gone'
    assert list(datasets_of(wrap(coco(missing))))[-1]['data_root'] == str(missing)
    with pytest.raises(UsageError, match=f'train_dataloader: folder {missing}'):
        check(config(wrap(coco(missing))))


def test_only_the_splits_of_the_run_count(tmp_path):
    cfg = config(coco(SAMPLE_COCO), test_dataloader=dict(dataset=coco(tmp_path / 'gone')))
    check(cfg, 'train', 'val')
    with pytest.raises(UsageError, match='test_dataloader: folder'):
        check(cfg, 'test')


@pytest.mark.parametrize('as_list', [False, True])
def test_the_annotations_of_the_evaluator_count(as_list, tmp_path):
    metric = dict(type='CocoMetric', ann_file=f'{tmp_path}/gone.json')
    cfg = config(coco(SAMPLE_COCO), val_evaluator=[metric] if as_list else metric)
    with pytest.raises(UsageError, match=r'val_evaluator: file .*gone\.json'):
        check(cfg)


def test_other_data_sets_get_no_advice_about_coco(tmp_path):
    cfg = config(dict(type='ADE20KDataset', data_root=str(tmp_path / 'ade')))
    with pytest.raises(UsageError, match='train_dataloader: folder') as caught:
        check(cfg)
    assert 'COCO' not in str(caught.value)


def test_addresses_and_plain_prefixes(tmp_path):
    check(config(coco('s3://bucket/coco')))
    with pytest.raises(UsageError, match=f'folder {tmp_path}/train$'.replace('$', '')):
        check(config(dict(type='ImageNet', data_root=str(tmp_path), data_prefix='train')))


def test_missing_pretrained_weights_name_the_part_and_the_cure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init_cfg = dict(type='Pretrained', checkpoint='checkpoints/w.pth')
    cfg = Config(dict(model=dict(backbone=dict(type='X', init_cfg=init_cfg))))
    with pytest.raises(UsageError) as caught:
        check_pretrained(cfg)
    message = str(caught.value)
    assert message.startswith(
        f'model.backbone.init_cfg: there is no weight file checkpoints/w.pth (seen from {tmp_path})'
    )
    assert '--cfg-options model.backbone.init_cfg.checkpoint=FILE' in message
    assert '--cfg-options model.backbone.init_cfg=None' in message
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints' / 'w.pth').touch()
    check_pretrained(cfg)
    cfg.model.backbone.init_cfg.checkpoint = 'torchvision://resnet50'
    with allowing(True):
        check_pretrained(cfg)


def test_a_folder_in_place_of_a_checkpoint_is_called_one(tmp_path):
    with pytest.raises(UsageError, match=r'is a folder, which holds no \.pth file'):
        existing_checkpoint(str(tmp_path), '--resume')
    (tmp_path / 'epoch_1.pth').touch()
    with pytest.raises(UsageError) as caught:
        existing_checkpoint(str(tmp_path), '--resume')
    assert 'it holds: epoch_1.pth' in str(caught.value)
    assert f'--work-dir {tmp_path} --resume' in str(caught.value)
    with pytest.raises(UsageError, match=r'^checkpoint: .* is a folder'):
        existing_checkpoint(str(tmp_path), 'checkpoint')
