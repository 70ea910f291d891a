"""Folders with a trained model, and those that are a part of this package."""

import json
import shutil

import pytest

pytest.importorskip('mmpretrain')

import torch
from mmengine.registry import MODELS, DefaultScope

from tinyvim_mm import get_config
from tinyvim_mm.commands import demo, publish, test
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.recipes import model_folder
from tinyvim_mm.recipes.configs import find_config, load_config

CONFIG = 'tinyvim_s_15e_imagenette'
PICTURES = PROJECT_ROOT / 'data' / 'sample' / 'imagenet' / 'val'
NAMES = tuple(f'class {i}' for i in range(9)) + ('dog',)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(get_config(CONFIG).model)
    # So that one class is seen everywhere.
    model.head.head.bias.data[9] += 20
    path = tmp_path_factory.mktemp('weights') / 'epoch_1.pth'
    meta = {'dataset_meta': {'classes': NAMES}}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return path


@pytest.fixture(scope='module')
def folder(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp('models') / 'pets'
    publish.main([str(checkpoint), str(path), '--config', CONFIG])
    return path


@pytest.fixture
def shipped(folder, monkeypatch):
    """The folder as a part of this package."""
    monkeypatch.setattr(model_folder, 'TRAINED', folder.parent)


def run_demo(tmp_path, *argv):
    demo.main([*map(str, argv), '--out', str(tmp_path / 'out')])


def test_a_published_folder_is_all_that_is_needed(folder, tmp_path):
    assert {file.name for file in folder.iterdir()} == {
        *('config.py', 'weights.safetensors', 'classes.txt')
    }
    assert (folder / 'classes.txt').read_text().split('\n')[-2] == 'dog'
    cfg = load_config(folder / 'config.py')
    assert not [key for key in cfg if key.startswith(('train', 'val', 'optim', 'param'))]
    elsewhere = shutil.copytree(folder, tmp_path / 'elsewhere')
    run_demo(tmp_path, PICTURES / 'dog', '--model', elsewhere)
    written = json.loads((tmp_path / 'out' / 'predictions.json').read_text())
    assert written['model'] == 'elsewhere'
    assert [entry['top'][0]['class'] for entry in written['predictions']] == ['dog', 'dog']


def test_the_weights_that_a_training_began_with_are_left_behind(checkpoint, tmp_path):
    config = tmp_path / 'own.py'
    config.write_text(
        f"_base_ = 'tinyvim_mm::benchmarks/{CONFIG}.py'\n"
        "init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')\n"
        'model = dict(backbone=dict(init_cfg=init_cfg))\n'
        "load_from = 'nowhere.pth'\n"
    )
    publish.main(
        [str(checkpoint), str(tmp_path / 'own'), '--config', str(config)]
        + ['--cfg-options', 'test_dataloader.dataset.data_root=elsewhere']
    )
    assert 'nowhere' not in (tmp_path / 'own' / 'config.py').read_text().replace(
        "init_cfg = dict(checkpoint='nowhere.pth', type='Pretrained')", ''
    )
    cfg = load_config(tmp_path / 'own' / 'config.py')
    assert cfg.model.backbone.init_cfg is None
    assert cfg.test_dataloader.dataset.data_root == 'elsewhere'


def test_a_folder_wants_a_config(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit):
        publish.main([str(checkpoint), str(tmp_path / 'x')])
    assert 'name --config' in capsys.readouterr().err
    assert not (tmp_path / 'x').exists()
    (tmp_path / 'y').mkdir()
    with pytest.raises(SystemExit):
        publish.main([str(checkpoint), str(tmp_path / 'y'), '--config', CONFIG])
    assert 'exists' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        publish.main([str(checkpoint), str(tmp_path / 'x.safetensors'), '--cfg-options', 'a=1'])
    assert 'is a file' in capsys.readouterr().err


def test_names_of_folders():
    assert model_folder.name_of(find_config(CONFIG)) == CONFIG


@pytest.mark.usefixtures('shipped')
def test_a_model_of_this_package_goes_by_its_name(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_folder.trained_models() == ['pets']
    assert find_config('pets') == folder / 'config.py'
    assert model_folder.weights_in('pets') == str(folder / 'weights.safetensors')
    assert model_folder.weights_in('cats') is None
    assert model_folder.weights_in('..') is None
    assert model_folder.name_of(find_config('pets')) == 'pets'
    run_demo(tmp_path, PICTURES / 'cup', '--model', 'pets')
    assert json.loads((tmp_path / 'out' / 'predictions.json').read_text())['model'] == 'pets'


@pytest.mark.usefixtures('shipped')
def test_a_folder_of_the_user_comes_first(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = shutil.copytree(folder, tmp_path / 'pets')
    assert find_config('pets').resolve() == own / 'config.py'


@pytest.mark.usefixtures('shipped')
def test_without_a_model_those_of_this_package_run_and_it_is_said(tmp_path, capsys):
    files = sorted((PICTURES / 'cup').iterdir())
    run_demo(tmp_path, *files, PICTURES / 'dog')
    assert 'No --model: pets run' in capsys.readouterr().out
    written = json.loads((tmp_path / 'out' / 'pets' / 'predictions.json').read_text())
    names = [*(f.name for f in files), *sorted(f.name for f in (PICTURES / 'dog').iterdir())]
    assert [entry['file'] for entry in written['predictions']] == names
    assert all((tmp_path / 'out' / 'pets' / name).is_file() for name in names)


@pytest.mark.usefixtures('shipped')
def test_settings_of_no_config_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_demo(tmp_path, PICTURES / 'dog', '--cfg-options', 'model.head.topk=(1,)')
    assert 'name it by --model' in capsys.readouterr().err


@pytest.mark.usefixtures('shipped')
def test_a_model_whose_toolbox_is_missing_is_left_out(folder, tmp_path, monkeypatch, capsys):
    from tinyvim_mm.core.environment import MissingPackageError
    from tinyvim_mm.inference import prediction

    def load(model, *args, **settings):
        raise MissingPackageError(f'{model} wants more')

    monkeypatch.setattr(prediction, '_load', load)
    with pytest.raises(SystemExit):
        run_demo(tmp_path, PICTURES / 'dog')
    assert 'pets is left out: pets wants more' in capsys.readouterr().err


def test_an_evaluation_wants_weights(capsys):
    with pytest.raises(SystemExit):
        test.main([CONFIG])
    assert 'name the checkpoint to evaluate' in capsys.readouterr().err


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UsageError, match='cannot be written'):
        model_folder.write_model(tmp_path / 'file', get_config(CONFIG), NAMES)
