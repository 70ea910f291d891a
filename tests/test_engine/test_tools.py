"""The command lines of the tools: options, and the messages of their errors."""

import subprocess
import sys

import pytest

pytest.importorskip('mmdet')

from tinyvim_mm.commands import test as test_tool
from tinyvim_mm.commands import train as train_tool
from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.training import evaluation
from tinyvim_mm.training.config import prepare_config

NAME = 'mask_rcnn_tinyvim_s_1x_coco'
TOOLS = PROJECT_ROOT / 'tools'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def message(main, capsys, *argv):
    with pytest.raises(SystemExit) as caught:
        main([str(arg) for arg in argv])
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ('tool', 'arguments'), [('train', ''), ('test', ' x.pth')], ids=['train', 'test']
)
def test_without_coco_the_tools_point_to_the_sample(tool, arguments, capsys, tmp_path):
    (tmp_path / 'x.pth').touch()
    main = {'train': train_tool, 'test': test_tool}[tool].main
    error = message(main, capsys, NAME, *arguments.split())
    assert error.startswith(f'tools/{tool}.py: error: data of this run do not exist')
    assert 'COCO 2017 (https://cocodataset.org) is expected at data/coco/' in error
    assert error.rstrip().endswith(f'python tools/{tool}.py {NAME}{arguments} --sample')


def test_a_misspelled_config_suggests_the_nearest(capsys):
    error = message(train_tool.main, capsys, 'mask_rcnn_tinyvim_s_1x_cocoo')
    assert f'{NAME}.py?' in error


def test_resume_with_nothing_saved_says_so(capsys):
    words = '--resume: nothing was saved in new yet; this training starts from the beginning'
    with pytest.raises(SystemExit):  # COCO is not there
        train_tool.main([NAME, '--work-dir', 'new', '--resume'])
    assert words in capsys.readouterr().out
    with pytest.raises(SystemExit):
        train_tool.main([NAME, '--resume', '--cfg-options', 'load_from=coco.pth'])
    assert 'starts from the weights in coco.pth' in capsys.readouterr().out


def test_old_settings_stop_a_training(capsys):
    error = message(train_tool.main, capsys, NAME, '--cfg-options', 'data.samples_per_gpu=4')
    assert 'data (--cfg-options) -> train_dataloader' in error


def test_auto_scale_lr_without_a_base_batch_size(capsys):
    error = message(
        train_tool.main, capsys, NAME, '--auto-scale-lr', '--cfg-options', 'auto_scale_lr=None'
    )
    assert 'auto_scale_lr=dict(base_batch_size=...)' in error


@pytest.mark.parametrize('files', [(), ('epoch_12.pth', 'epoch_11.pth')], ids=['empty', 'others'])
def test_a_missing_checkpoint_lists_its_neighbors(files, capsys, tmp_path):
    for file in files:
        (tmp_path / file).touch()
    error = message(test_tool.main, capsys, NAME, 'epoch_13.pth', '--sample')
    assert f'checkpoint: there is no file epoch_13.pth (seen from {tmp_path})' in error
    assert ('holds: epoch_11.pth, epoch_12.pth' if files else 'holds no .pth file') in error


def test_a_missing_folder_of_the_checkpoint(capsys):
    error = message(train_tool.main, capsys, NAME, '--sample', '--resume', 'gone/epoch_1.pth')
    assert '--resume: there is no file gone/epoch_1.pth' in error
    assert 'the folder gone does not exist either' in error


def test_missing_weights_are_found_before_training(capsys):
    from tinyvim_mm.core.paths import SAMPLE_COCO

    options = [f'{split}_dataloader.dataset.data_root={SAMPLE_COCO}/' for split in ('train', 'val')]
    options.append(f'val_evaluator.ann_file={SAMPLE_COCO}/annotations/instances_val2017.json')
    error = message(train_tool.main, capsys, NAME, '--cfg-options', *options)
    assert (
        'model.backbone.init_cfg: there is no weight file checkpoints/tinyvim_s_300e.pth' in error
    )


def test_out_must_be_a_pickle(capsys):
    error = message(test_tool.main, capsys, NAME, 'x.pth', '--out', 'x.json')
    assert '--out writes a pickle: x.json must end in .pkl or .pickle' in error


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('lr', "'lr' is not of the form key=value"),
        ('param_scheduler.7.end=3', f'--cfg-options do not fit {NAME}'),
    ],
)
def test_impossible_cfg_options(option, words, capsys):
    assert words in message(train_tool.main, capsys, NAME, '--cfg-options', option)


def test_cfg_options_win_over_the_sample():
    options = {'train_dataloader.batch_size': 3}
    cfg = prepare_config(NAME, sample=True, options=options)
    assert cfg.train_dataloader.batch_size == 3
    assert cfg.train_dataloader.dataset.type == 'RepeatDataset'
    assert cfg.work_dir == f'work_dirs/{NAME}_sample'


@pytest.mark.parametrize(
    ('scope', 'hook', 'visualizer'),
    [
        ('mmdet', dict(draw=True, test_out_dir='{cwd}/out'), {}),
        ('mmseg', dict(draw=True, interval=1), dict(save_dir='{cwd}/out')),
        ('mmpretrain', dict(enable=True, interval=1, out_dir='{cwd}/out'), {}),
    ],
)
def test_show_dir_in_the_words_of_each_toolbox(scope, hook, visualizer, tmp_path):
    from mmengine.config import Config

    cfg = Config(
        dict(default_scope=scope, default_hooks=dict(visualization=dict()), visualizer=dict())
    )
    evaluation._draw_predictions(cfg, NAME, show=False, show_dir='out', wait_time=2.0)
    expected = {k: v.format(cwd=tmp_path) if isinstance(v, str) else v for k, v in hook.items()}
    assert cfg.default_hooks.visualization == expected
    assert {k: v.format(cwd=tmp_path) for k, v in visualizer.items()} == cfg.visualizer


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_help_from_any_folder(tool):
    done = subprocess.run(
        [sys.executable, str(TOOLS / tool), '--help'], capture_output=True, text=True, check=True
    )
    options = ['--work-dir', '--cfg-options', '--launcher', '--sample', '--trust-checkpoint']
    for option in options + (['--amp', '--resume'] if tool == 'train.py' else ['--out']):
        assert option in done.stdout


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_without_the_package_the_scripts_say_so(tool):
    # Without site-packages, and with it the installed package, and without PYTHONPATH.
    done = subprocess.run(
        [sys.executable, '-ES', str(TOOLS / tool)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert 'tinyvim_mm is not installed in this Python: run `make env`' in done.stderr
