"""``--sample`` for classification, and the crops that it reads."""

import csv
import importlib.util

import pytest

pytest.importorskip('mmpretrain.models')

from PIL import Image

from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.paths import PROJECT_ROOT, SAMPLE_IMAGENET
from tinyvim_mm.recipes.configs import find_config, list_configs, load_config
from tinyvim_mm.toolboxes import mmpretrain as toolbox
from tinyvim_mm.training.data.layout import check_data
from tinyvim_mm.training.sample import apply_sample

PATHS = [path for path in list_configs() if path.parent.name == 'mmpretrain']


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_every_config_runs_on_the_crops(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load_config(path)
    original = cfg.copy()
    apply_sample(cfg, path)
    check_data(cfg, ('train', 'test'), '')
    assert cfg.model.backbone == original.model.backbone
    assert cfg.optim_wrapper.clip_grad == original.optim_wrapper.clip_grad
    assert cfg.param_scheduler[0] == original.param_scheduler[0]
    assert cfg.param_scheduler[1].end == cfg.train_cfg.max_epochs == toolbox.EPOCHS
    assert cfg.model.distillation is None


def test_every_change_is_told_with_a_reason():
    path = find_config('tinyvim_s_300e_in1k')
    told = apply_sample(load_config(path), path)
    assert (
        '  model.distillation = None\n      the teacher knows the 1000 classes of ImageNet only\n'
        in told
    )
    for key in ('model.train_cfg', 'custom_hooks.0.momentum', 'train_dataloader.sampler'):
        assert f'  {key} = ' in told


def test_other_data_sets_are_refused():
    path = find_config('tinyvim_s_300e_in1k')
    cfg = load_config(path)
    cfg.test_dataloader.dataset.type = 'CIFAR10'
    with pytest.raises(UsageError, match=r'plain ImageNet, and test_dataloader .* reads a CIFAR10'):
        apply_sample(cfg, path)


def test_absent_data_are_described():
    cfg = load_config(find_config('tinyvim_s_300e_in1k'))
    cfg.train_dataloader.dataset.data_root = '/nowhere/imagenet/'
    with pytest.raises(UsageError, match=r'expected at /nowhere/imagenet/ with one folder per cl'):
        check_data(cfg, ('train',), 'python tools/train.py x')


def test_pictures_to_draw_are_chosen_by_class():
    class Dataset:
        labels = [0, 0, 0, 1, 1, 2]

        def __len__(self):
            return len(self.labels)

        def get_data_info(self, index):
            return {'gt_label': self.labels[index]}

    assert toolbox.pick_photographs(Dataset(), 5) == [0, 3, 5, 1, 4]


def test_every_crop_is_attributed_and_no_license_forbids_it():
    folder = SAMPLE_IMAGENET
    with open(folder / 'ATTRIBUTION.csv', encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    crops = {p.relative_to(folder).as_posix(): p for p in folder.glob('*/*/*.jpg')}
    assert sorted(row['file'] for row in rows) == sorted(crops)
    for row in rows:
        assert (folder.parent / row['source']).is_file()
        assert row['license_url'].startswith('http://creativecommons.org/licenses/by')
        assert '-nd' not in row['license_url']
        assert row['flickr_url']
        assert row['source'].split('/')[1] == row['file'].split('/')[0] + '2017'
        with Image.open(crops[row['file']]) as crop:
            assert 45 <= max(crop.size) <= 224
    for split in ('train', 'val'):
        folders = {path.parent.name for name, path in crops.items() if name.startswith(split)}
        assert folders == {'cup', 'dog', 'laptop', 'oven', 'person'}


def test_the_crops_are_what_the_script_makes(tmp_path, monkeypatch):
    path = PROJECT_ROOT / 'tools' / 'make_sample_imagenet.py'
    spec = importlib.util.spec_from_file_location('make_sample_imagenet', path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    (tmp_path / 'coco').symlink_to(script.SAMPLE / 'coco')
    shipped = script.SAMPLE / 'imagenet'
    monkeypatch.setattr(script, 'SAMPLE', tmp_path)
    monkeypatch.setattr('sys.argv', ['make_sample_imagenet.py'])
    script.main()
    made = tmp_path / 'imagenet'
    assert (made / 'ATTRIBUTION.csv').read_text() == (shipped / 'ATTRIBUTION.csv').read_text()
    names = sorted(p.relative_to(made) for p in made.glob('*/*/*.jpg'))
    assert names == sorted(p.relative_to(shipped) for p in shipped.glob('*/*/*.jpg'))
    for name in names:
        with Image.open(made / name) as new, Image.open(shipped / name) as old:
            assert new.size == old.size
