"""``--sample`` for mmseg, and what the tools ask its module."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip('mmseg')

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData

from tinyvim_mm.core.devices import computes_in_bfloat16
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.paths import SAMPLE_ADE
from tinyvim_mm.recipes.configs import find_config, load_config
from tinyvim_mm.toolboxes import mmseg as toolbox
from tinyvim_mm.training.data.layout import check_data
from tinyvim_mm.training.precision import CPU_WRAPPER
from tinyvim_mm.training.sample import apply_sample

FPN = find_config('fpn_tinyvim_b_40k_ade20k')
UPERNET = find_config('upernet_tinyvim_b_160k_ade20k')
PHOTOGRAPH = SAMPLE_ADE / 'images' / 'validation' / '000000119828.jpg'  # 400 x 300


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_config(FPN)


def test_the_network_and_the_optimizer_stay(cfg):
    original = cfg.to_dict()
    apply_sample(cfg, FPN)
    now = cfg.to_dict()
    for part in ('neck', 'decode_head'):
        assert now['model'][part] == original['model'][part]
    original['model']['backbone'].pop('init_cfg')
    assert now['model']['backbone'].pop('init_cfg') is None
    assert now['model']['backbone'] == original['model']['backbone']
    if computes_in_bfloat16():  # what is fastest on this machine
        original['optim_wrapper']['type'] = CPU_WRAPPER
    assert now['optim_wrapper'] == original['optim_wrapper']
    assert now['sync_bn'] == original['sync_bn']


@pytest.mark.parametrize('path', [FPN, UPERNET], ids=lambda path: path.stem)
def test_the_schedule_keeps_its_shape(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load_config(path)
    factor = toolbox.ITERATIONS / cfg.train_cfg.max_iters
    before = [dict(scheduler) for scheduler in cfg.param_scheduler]
    apply_sample(cfg, path)
    assert cfg.train_cfg.max_iters == toolbox.ITERATIONS
    for old, new in zip(before, cfg.param_scheduler, strict=True):
        assert abs(new.begin - old['begin'] * factor) <= 1
        assert abs(new.end - old['end'] * factor) <= 1
        assert {k: v for k, v in new.items() if k not in ('begin', 'end')} == {
            k: v for k, v in old.items() if k not in ('begin', 'end')
        }
    assert cfg.param_scheduler[-1].end == toolbox.ITERATIONS


def test_every_change_is_told_with_a_reason(cfg):
    told = apply_sample(cfg, FPN)
    for key in ('train_cfg.max_iters', 'model.data_preprocessor.size', 'visualizer.alpha'):
        assert f'  {key} = ' in told
    assert 'training starts from RANDOM weights' in told


def test_all_data_exist_and_are_read_afterwards(cfg):
    apply_sample(cfg, FPN)
    check_data(cfg, ('train', 'test'), '')
    init_default_scope('mmseg')
    from mmseg.registry import DATASETS

    train, test = (DATASETS.build(cfg[f'{s}_dataloader'].dataset) for s in ('train', 'test'))
    assert (len(train), len(test)) == (10, 6)
    np.random.seed(0)  # of the random scale
    batch = train[0]
    # Smaller where the random scale made the picture smaller than the crop.
    assert batch['inputs'].shape[0] == 3
    assert all(a <= b for a, b in zip(batch['inputs'].shape[1:], toolbox.CROP_SIZE, strict=True))
    assert max(batch['inputs'].shape[1:]) == max(toolbox.CROP_SIZE)
    labels = batch['data_samples'].gt_sem_seg.data
    assert set(labels.unique().tolist()) <= {*range(150), 255}


def test_missing_data_are_explained(cfg):
    with pytest.raises(UsageError) as caught:
        check_data(cfg, ('train', 'val'), 'python tools/train.py fpn_tinyvim_b_40k_ade20k')
    assert 'ADE20K (https://sceneparsing.csail.mit.edu' in str(caught.value)
    assert 'expected at data/ade/ADEChallengeData2016/ with this layout' in str(caught.value)


def test_other_data_sets_are_refused(cfg):
    cfg.test_dataloader.dataset.type = 'CityscapesDataset'
    with pytest.raises(
        UsageError, match=r'plain ADE20KDataset, and test_dataloader .*reads a CityscapesDataset'
    ):
        apply_sample(cfg, FPN)


def test_a_training_by_epochs_is_refused(cfg):
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3)
    with pytest.raises(UsageError, match=r'by its train_cfg.max_iters, which .* has not'):
        apply_sample(cfg, FPN)


def test_a_package_without_the_photographs_says_so(cfg, monkeypatch, tmp_path):
    monkeypatch.setattr(toolbox, 'SAMPLE_ADE', tmp_path / 'absent')
    with pytest.raises(UsageError, match=r'not at .*absent: .*part of the repository.*in a clone'):
        apply_sample(cfg, FPN)


def test_the_training_photographs_are_evaluated_as_the_others(cfg):
    apply_sample(cfg, FPN)
    dataloader = cfg.test_dataloader.copy()
    toolbox.read_training_photographs(cfg, dataloader, cfg.test_evaluator.copy())
    assert dataloader.dataset.data_prefix.img_path == 'images/training'
    assert dataloader.dataset.data_prefix.seg_map_path == 'annotations/training'
    assert dataloader.dataset.pipeline == cfg.test_dataloader.dataset.pipeline
    assert cfg.test_dataloader.dataset.data_prefix.img_path == 'images/validation'


def test_test_images_are_aligned_and_labels_keep_their_size(cfg):
    init_default_scope('mmseg')
    import mmseg.datasets  # noqa: F401 - registers

    labels = str(PHOTOGRAPH).replace('images', 'annotations').replace('.jpg', '.png')
    sample = dict(img_path=str(PHOTOGRAPH), seg_map_path=labels, seg_fields=[])
    sample.update(reduce_zero_label=True, label_map=None)
    packed = Compose(cfg.test_dataloader.dataset.pipeline)(sample)
    # 400 x 300, its shorter side to 512: 683 x 512, aligned to 704 x 512.
    assert packed['inputs'].shape == (3, 512, 704)
    assert packed['data_samples'].gt_sem_seg.data.shape == (1, 300, 400)


def test_photographs_are_picked_by_their_labels(cfg):
    apply_sample(cfg, FPN)
    from mmseg.registry import DATASETS

    init_default_scope('mmseg')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    picked = toolbox.pick_photographs(dataset, 2)
    names = [dataset.get_data_info(index)['img_path'].rpartition('/')[2] for index in picked]
    # 83 % and 38 % of their pixels are labeled.
    assert names == ['000000160012.jpg', '000000119828.jpg']


def test_scores_in_words():
    line = toolbox.score_line({'mIoU': 12.345, 'aAcc': 67.89, 'mAcc': 1.0})
    assert line.startswith('mIoU 12.3 over the classes that occur')
    assert line.endswith('67.9 % of the labeled pixels right')


def test_a_row_shows_the_prediction_on_the_labeled_pixels():
    from mmseg.structures import SegDataSample
    from mmseg.visualization import SegLocalVisualizer

    truth = torch.full((1, 300, 400), 255)
    truth[:, 100:200] = 12  # person
    prediction = torch.full((1, 300, 400), 12)
    prediction[:, 150:] = 20  # car
    sample = SegDataSample(metainfo={'img_path': str(PHOTOGRAPH)})
    sample.gt_sem_seg = PixelData(data=truth)
    sample.pred_sem_seg = PixelData(data=prediction)
    visualizer = SegLocalVisualizer(alpha=1.0)
    visualizer.set_dataset_meta(dataset_name='ade20k')
    model = SimpleNamespace(decode_head=SimpleNamespace(ignore_index=255))
    row = toolbox.draw_row(SimpleNamespace(visualizer=visualizer, model=model), sample, 'label')

    palette = [tuple(color) for color in visualizer.dataset_meta['palette']]
    # Beside the names, which are written over the labels.
    assert tuple(row.truth[195, 395]) == tuple(row.truth[105, 5]) == palette[12]
    assert tuple(row.prediction[105, 5]) == palette[12]
    assert tuple(row.prediction[195, 395]) == palette[20]
    assert not np.any(row.prediction[250:])
    assert 'person;' in row.truth_caption
    assert row.prediction_caption.startswith('50 % of the labeled pixels right')
    assert torch.equal(sample.pred_sem_seg.data, prediction)


def test_pictures_go_to_the_folder_of_the_user():
    cfg = Config(dict(visualizer=dict(type='SegLocalVisualizer')))
    hook = dict(type='SegVisualizationHook')
    toolbox.show_predictions(cfg, hook, '/pictures')
    assert hook['draw'] is True
    assert cfg.visualizer.save_dir == '/pictures'
