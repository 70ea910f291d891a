"""Wrong settings: each is one message with the cause and the cure, before anything is trained."""

import copy
import sys

import pytest

pytest.importorskip('mmpretrain')

from mmengine.config import DictAction
from mmengine.runner import Runner
from tool_runs import forget_runs
from torch import nn

from tinyvim_mm.commands import train as train_tool
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.recipes.building import building
from tinyvim_mm.recipes.configs import find_config, list_configs, load_config, merge_options

NAME = 'tinyvim_s_300e_in1k'
#: What users of the toolboxes set most; every config takes them.
TYPICAL = (
    *('train_dataloader.batch_size=4', 'train_dataloader.num_workers=0', 'load_from=x.pth'),
    *('train_dataloader.pin_memory=True', 'optim_wrapper.optimizer.lr=1e-4', 'resume=True'),
    *('optim_wrapper.accumulative_counts=2', 'optim_wrapper.type=AmpOptimWrapper'),
    *('optim_wrapper.loss_scale=512.', 'model.backbone.init_cfg=None', 'sync_bn=None'),
    *('model.backbone.init_cfg.checkpoint=x.pth', 'model.backbone.frozen_stages=1'),
    *('model.backbone.ssm_backend=parallel', 'default_hooks.checkpoint.interval=2'),
    *('default_hooks.checkpoint.max_keep_ckpts=1', 'default_hooks.checkpoint.save_best=auto'),
    *('default_hooks.logger.interval=5', 'default_hooks.visualization.interval=3'),
    *('train_cfg.val_interval=3', 'visualizer.vis_backends=[]', 'randomness.seed=1'),
    *('randomness.deterministic=True', 'env_cfg.cudnn_benchmark=True', 'custom_hooks=[]'),
    *('env_cfg.mp_cfg.mp_start_method=spawn', 'env_cfg.dist_cfg.backend=gloo'),
    *('find_unused_parameters=True', 'auto_scale_lr.base_batch_size=16', 'log_level=DEBUG'),
    *('default_hooks.checkpoint.priority=LOW', 'default_hooks.param_scheduler.priority=LOW'),
    *('env_cfg.dist_cfg.timeout=60', 'env_cfg.dist_cfg.init_method=env://'),
    *('optim_wrapper.paramwise_cfg.custom_keys.layer4.lr_mult=0.1', 'log_processor.num_digits=3'),
    *('param_scheduler.0.begin=1', 'param_scheduler=[]', 'val_dataloader.batch_size=2'),
)
OF_SOME = {
    'mask_rcnn_tinyvim_s_1x_coco': (
        *('model.roi_head.bbox_head.num_classes=3', 'model.test_cfg.rcnn.max_per_img=10'),
        *('model.test_cfg.rcnn.nms.type=soft_nms', 'model.test_cfg.rcnn.nms.min_score=0.05'),
        *('train_dataloader.dataset.pipeline.0.type=X', 'train_cfg.max_epochs=3'),
        *('train_dataloader.dataset.metainfo.classes=(a,)', 'optim_wrapper.clip_grad.max_norm=1'),
        *('train_dataloader.dataset.filter_cfg.min_size=1', 'val_evaluator.classwise=True'),
    ),
    'fpn_tinyvim_s_40k_ade20k': (
        *('model.test_cfg.mode=slide', 'model.test_cfg.crop_size=(64,64)', 'train_cfg.max_iters=9'),
        *('model.test_cfg.stride=(32,32)', 'optim_wrapper.clip_grad.max_norm=1'),
    ),
    NAME: ('model.head.num_classes=3', 'optim_wrapper.paramwise_cfg.bias_lr_mult=2.'),
}


def merged(cfg, *options, **kwargs):
    values = dict(option.split('=', 1) for option in options)
    values = {key: DictAction._parse_iterable(value) for key, value in values.items()}
    merge_options(cfg, values, NAME, **kwargs)
    return cfg


@pytest.fixture
def cfg():
    return load_config(find_config(NAME))


@pytest.mark.parametrize('path', list_configs(), ids=lambda path: path.stem)
def test_what_users_set_is_known_in_every_config(path):
    cfg = load_config(path)
    for option in (*TYPICAL, *OF_SOME.get(path.stem, ())):
        merged(copy.deepcopy(cfg), option)


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('optim_wraper.optimizer.lr=1', "'optim_wraper' at the top of a config; did you mean opt"),
        ('nonsense.key=1', "nothing reads 'nonsense' at the top of a config"),
        ('train_cfg.max_epohcs=1', 'did you mean max_epochs?'),
        ('train_dataloader.batchsize=1', 'did you mean batch_size'),
        ('default_hooks.checkpont.interval=1', 'did you mean checkpoint?'),
        ('default_hooks.mine=5', "nothing reads 'mine' in default_hooks"),
        ('default_hooks.checkpoint.intervall=1', 'did you mean interval?'),
        ('optim_wrapper.clip_grad.clip_fctor=1', 'did you mean clip_factor?'),
        ('optim_wrapper.optimizer.momentum=1', "'momentum' in optim_wrapper.optimizer"),
        ('env_cfg.cudnn_bench=True', 'did you mean cudnn_benchmark?'),
        ('env_cfg.dist_cfg.bakend=gloo', 'did you mean backend?'),
        ('default_hooks.timer.priorty=LOW', 'did you mean priority?'),
        ('env_cfg.mp_cfg.opencv_threads=1', 'did you mean opencv_num_threads?'),
        ('randomness.sede=1', 'did you mean seed?'),
        ('model.head.nmu_classes=1', 'did you mean num_classes?'),
        ('model.backbone.frozen_stage=1', 'did you mean frozen_stages?'),
        ('lr=1', 'did you mean optim_wrapper.optimizer.lr'),
        ('dataset_type=X', 'once the config is loaded: set train_dataloader.dataset.type'),
    ],
)
def test_a_key_that_nothing_reads_names_the_nearest(option, words, cfg):
    with pytest.raises(UsageError) as caught:
        merged(cfg, option)
    assert words in str(caught.value)
    assert option.partition('=')[0] in str(caught.value)
    assert '--allow-new-keys' in str(caught.value)


def test_a_key_of_a_part_without_a_type_is_one_that_the_toolbox_mentions():
    cfg = load_config(find_config('mask_rcnn_tinyvim_s_1x_coco'))
    merged(cfg, 'model.test_cfg.rcnn.mask_thr_binary=0.4')
    with pytest.raises(
        UsageError, match=r"'max_per_imgg' in model.test_cfg.rcnn; did you mean max_p"
    ):
        merged(cfg, 'model.test_cfg.rcnn.max_per_imgg=3')


def test_new_keys_can_be_allowed(cfg):
    assert merged(cfg, 'nonsense.key=1', allow_new_keys=True).nonsense.key == 1
    assert merged(cfg, 'data_preprocessor=None', 'my=1', allow_new_keys=True).my == 1


def test_options_of_a_whole_part_are_looked_into(cfg):
    merge_options(cfg, {'custom_hooks': [dict(type='EMAHook', foo=1)]}, NAME)
    merge_options(cfg, {'default_hooks.mine': dict(type='EMAHook')}, NAME)
    with pytest.raises(UsageError, match=r'train_cfg\.max_epohcs'):
        merge_options(cfg, {'train_cfg': {'max_epohcs': 3}}, NAME)


def test_names_of_parameters_are_those_of_the_model():
    cfg = load_config(find_config('mask_rcnn_tinyvim_s_1x_coco'))
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys
    keys = {'backbone.stages.0': dict(lr_mult=0.1)}
    merge_options(cfg, {'optim_wrapper.paramwise_cfg.custom_keys': keys}, NAME)


def test_a_type_of_a_toolbox_that_is_not_there_is_left_to_whoever_builds_it(cfg, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmdet.registry', None)
    merged(cfg, 'visualizer.type=mmdet.DetLocalVisualizer', 'visualizer.line_width=3')


def test_an_option_and_a_part_of_it_contradict(cfg):
    with pytest.raises(UsageError, match=r'set train_cfg and train_cfg.max_epochs, a part of it'):
        merge_options(cfg, {'train_cfg.max_epochs': 3, 'train_cfg': dict(by_epoch=True)}, NAME)


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('optim_wrapper.optimizer.lr=1e400', 'optim_wrapper.optimizer.lr=inf is not a finite'),
        ('model.head.loss.label_smooth_val=nan', 'label_smooth_val=nan is not a finite number'),
        ('data_preprocessor.mean=[1,-inf,3]', 'data_preprocessor.mean.1=-inf'),
        ('optim_wrapper.optimizer.lr=-1', 'optim_wrapper.optimizer.lr is -1'),
        ('train_cfg.max_epochs=-3', 'train_cfg.max_epochs is -3; it takes a whole number of at'),
        ('train_cfg.max_epochs=2.5', 'train_cfg.max_epochs is 2.5; it takes a whole number'),
        ('train_cfg.val_interval=0', 'it takes a whole number of at least 1'),
        ('train_dataloader.batch_size=0', 'train_dataloader.batch_size is 0'),
        ('train_dataloader.num_workers=-1', 'of at least 0'),
        ('randomness.seed=-1', 'randomness.seed is -1'),
        ('randomness.seed=4294967296', 'at most 4294967295'),
        ('train_cfg=5', 'train_cfg is 5; it takes a dict'),
        ('train_dataloader.dataset=5', 'train_dataloader.dataset is 5; it takes a dict'),
        ('custom_hooks=5', 'custom_hooks is 5; it takes a list'),
        ('model=None', 'has no model: model is None'),
        ('default_scope=abc', "default_scope is 'abc'"),
    ],
)
def test_impossible_values_are_named(option, words, cfg):
    with pytest.raises(UsageError) as caught:
        merged(cfg, option)
    assert words in str(caught.value)


def test_an_infinite_setting_of_the_config_itself(cfg):
    cfg.optim_wrapper.optimizer.lr = float('inf')
    with pytest.raises(UsageError, match=rf'{NAME}: optim_wrapper.optimizer.lr=inf'):
        merge_options(cfg, {}, NAME)


@pytest.mark.parametrize('value', ['inf', 'nan'])
def test_a_number_of_epochs_that_is_not_finite(value, cfg):
    cfg.train_cfg.max_epochs = float(value)
    with pytest.raises(UsageError, match=f'{NAME}: train_cfg.max_epochs is {value}; it takes a wh'):
        merge_options(cfg, {}, NAME)


def test_the_largest_of_all_gradients_is_no_infinite_setting():
    cfg = load_config(find_config('fpn_tinyvim_s_40k_ade20k'))
    merged(cfg, 'optim_wrapper.clip_grad.max_norm=1', 'optim_wrapper.clip_grad.norm_type=inf')


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('model.backbone.arch=xxl', 'model.backbone of {name} cannot be built: ValueError: arch m'),
        ('model.backbone.type=TinyVIM', "there is no model 'TinyVIM'; did you mean"),
        ('model.head.num_classes=-4', 'model.head of {name} cannot be built: RuntimeError'),
        (
            'optim_wrapper.optimizer.type=Adamm',
            'optim_wrapper.optimizer of {name} cannot be built: there is no optimizer',
        ),
        ('optim_wrapper.optimizer.lr=abc', 'optim_wrapper'),
        ('param_scheduler.0.type=LinearL', "'LinearL'; did you mean LinearLR"),
        (
            'train_dataloader.sampler.type=x',
            'train_dataloader.sampler of {name} cannot be built: th',
        ),
        ('train_dataloader.dataset.times=1', 'train_dataloader.dataset of {name} cannot be built'),
        ('train_dataloader.dataset.pipeline.0.type=LoadImageFromFle', 'LoadImageFromFile'),
        ('default_hooks.logger=5', 'default_hooks of {name} cannot be built'),
        ('visualizer.type=X', "visualizer of {name} cannot be built: there is no visualizer 'X'"),
        ('model.backbone.init_cfg=5', 'model of {name} cannot be built'),
    ],
)
def test_what_cannot_be_built_is_named(option, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forget_runs()
    with pytest.raises(SystemExit) as caught:
        train_tool.main([NAME, '--sample', '--cfg-options', option])
    forget_runs()
    assert caught.value.code == 2
    message = capsys.readouterr().err.partition('error: ')[2]
    assert words.format(name=NAME) in message
    assert len(message.splitlines()) <= 2


def test_an_error_of_the_training_itself_is_none_of_the_config(cfg):
    class Broken(nn.Module):
        def forward(self):
            raise ValueError('a bug')

    with pytest.raises(ValueError, match='a bug'), building(cfg, NAME, running=True):
        Broken()()
    with pytest.raises(UsageError, match='ValueError: a bug'), building(cfg, NAME):
        Broken()()
    with pytest.raises(UsageError, match='cannot be built'), building(cfg, NAME, running=True):
        Runner.build_dataloader(dict(dataset=dict(type='Nope')))


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (b'x = "\xff"\n', 'a.py is not text in UTF-8'),
        (b'_base_ = "./a.py"\n', r'inherits from itself: \S*a.py -> \S*a.py'),
        (b'_base_ = 5\n', '_base_ is the path of a config or a list, got 5'),
        (b'x = 1\ny = 1 / 0\n', r'a.py, line 2: ZeroDivisionError: division by zero'),
        (b'_base_ = []\nimport nowhere\n', r'a.py, line 2: ModuleNotFoundError: No module named'),
        (b'import nowhere\n_base_ = ["./b.py"]\n', 'imports a module beside its _base_'),
        (b'custom_imports = dict(imports=["nowhere"])\n', 'Failed to import custom modules'),
        (b'x\0 = 1', 'a.py'),
        (b'x = ' + b'(' * 300 + b')' * 300, 'a.py'),
    ],
    ids=range(9),
)
def test_a_config_that_cannot_be_loaded(text, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.py').write_bytes(text)
    (tmp_path / 'b.py').write_text('')
    with pytest.raises(UsageError, match=words):
        load_config(tmp_path / 'a.py')


def test_a_backend_of_the_scan_that_there_is_not(capsys, monkeypatch):
    monkeypatch.setenv('TINYVIM_SSM_BACKEND', 'nope')
    with pytest.raises(SystemExit) as caught:
        train_tool.main([NAME, '--sample'])
    assert caught.value.code == 2
    assert "error: TINYVIM_SSM_BACKEND='nope' is no scan backend" in capsys.readouterr().err


def test_a_refused_option_is_not_buried_under_the_list_of_changes(capsys):
    with pytest.raises(SystemExit):
        train_tool.main([NAME, '--sample', '--cfg-options', 'train_cfg.max_epohcs=3'])
    printed = capsys.readouterr()
    assert printed.out == ''
    assert 'max_epochs' in printed.err


def test_an_option_opens_what_is_none_wherever_it_stands(cfg):
    cfg.train_dataloader.dataset.pipeline[0].backend_args = None
    cfg.whatever = None
    options = {
        'train_dataloader.dataset.pipeline.0.backend_args.backend': 'local',
        'whatever.key': 1,
    }
    merge_options(cfg, options, NAME, allow_new_keys=True)
    assert cfg.train_dataloader.dataset.pipeline[0].backend_args.backend == 'local'
    assert cfg.whatever.key == 1
