"""Configs by name, metafiles, and what an installed package holds."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from scan_cases import needs_library

import tinyvim_mm
from tinyvim_mm.core import compat
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.paths import MODEL_INDEX, PROJECT_ROOT
from tinyvim_mm.recipes import metafiles
from tinyvim_mm.recipes import zoo as model_zoo
from tinyvim_mm.recipes.configs import list_configs

NAME = 'mask_rcnn_tinyvim_b_1x_coco'
CLASSIFIER = 'tinyvim_s_300e_in1k'
#: Figures of the paper, which the entries must repeat and mark.
PUBLISHED = {
    'mask_rcnn_tinyvim_b_1x_coco': {'box AP': 42.3, 'mask AP': 38.7},
    'mask_rcnn_tinyvim_l_1x_coco': {'box AP': 44.5, 'mask AP': 40.3},
    'fpn_tinyvim_s_40k_ade20k': {'mIoU': 38.9},
    'fpn_tinyvim_b_40k_ade20k': {'mIoU': 41.9},
    'fpn_tinyvim_l_40k_ade20k': {'mIoU': 44.1},
    'tinyvim_s_300e_in1k': {'Top 1 Accuracy': 79.2},
    'tinyvim_s_1000e_in1k': {'Top 1 Accuracy': 80.3},
    'tinyvim_b_300e_in1k': {'Top 1 Accuracy': 81.2},
    'tinyvim_b_1000e_in1k': {'Top 1 Accuracy': 82.1},
    'tinyvim_l_300e_in1k': {'Top 1 Accuracy': 83.3},
    'tinyvim_l_1000e_in1k': {'Top 1 Accuracy': 83.6},
    'mask_rcnn_mobilemamba_b1_1x_coco': {'box AP': 40.6, 'mask AP': 37.4},
    'retinanet_mobilemamba_b1_1x_coco': {'box AP': 39.6},
    'ssdlite_mobilemamba_b1_120e_coco': {'box AP': 24.0},
    'ssdlite512_mobilemamba_b1_120e_coco': {'box AP': 29.5},
    'fpn_mobilemamba_b4_160k_ade20k': {'mIoU': 42.5},
    'deeplabv3_mobilemamba_b4_80k_ade20k': {'mIoU': 36.6},
    'pspnet_mobilemamba_b4_80k_ade20k': {'mIoU': 36.9},
    'mobilemamba_t2_300e_in1k': {'Top 1 Accuracy': 73.6},
    'mobilemamba_t2_1000e_in1k': {'Top 1 Accuracy': 76.9},
    'mobilemamba_t4_300e_in1k': {'Top 1 Accuracy': 76.1},
    'mobilemamba_t4_1000e_in1k': {'Top 1 Accuracy': 78.9},
    'mobilemamba_s6_300e_in1k': {'Top 1 Accuracy': 78.0},
    'mobilemamba_s6_1000e_in1k': {'Top 1 Accuracy': 80.7},
    'mobilemamba_b1_300e_in1k': {'Top 1 Accuracy': 79.9},
    'mobilemamba_b1_1000e_in1k': {'Top 1 Accuracy': 82.2},
    'mobilemamba_b2_300e_in1k': {'Top 1 Accuracy': 81.6},
    'mobilemamba_b2_1000e_in1k': {'Top 1 Accuracy': 83.3},
    'mobilemamba_b4_300e_in1k': {'Top 1 Accuracy': 82.5},
    'mobilemamba_b4_1000e_in1k': {'Top 1 Accuracy': 83.6},
    'mask_rcnn_vmamba_t_1x_coco': {'box AP': 47.3, 'mask AP': 42.7},
    'mask_rcnn_efficientvmamba_s_1x_coco': {'box AP': 39.3, 'mask AP': 36.7},
    'mask_rcnn_efficientvmamba_b_1x_coco': {'box AP': 43.7, 'mask AP': 40.2},
    'upernet_vmamba_t_160k_ade20k': {'mIoU': 47.9},
    'vmamba_t_300e_in1k': {'Top 1 Accuracy': 82.6},
    'vmamba_t_s2l5_300e_in1k': {'Top 1 Accuracy': 82.5},
    'vmamba_s_300e_in1k': {'Top 1 Accuracy': 83.6},
    'vmamba_b_300e_in1k': {'Top 1 Accuracy': 83.9},
    'efficientvmamba_t_300e_in1k': {'Top 1 Accuracy': 76.5},
    'efficientvmamba_s_300e_in1k': {'Top 1 Accuracy': 78.7},
    'efficientvmamba_b_300e_in1k': {'Top 1 Accuracy': 81.8},
}


def entries():
    """Model name to its entry, of all metafiles in the index."""
    found = {}
    for name in yaml.safe_load(MODEL_INDEX.read_text())['Import']:
        content = yaml.safe_load((PROJECT_ROOT / name).read_text())
        collections = {collection['Name'] for collection in content['Collections']}
        for entry in content['Models']:
            assert entry['In Collection'] in collections
            assert entry['Name'] not in found
            found[entry['Name']] = entry
    return found


# -- metafiles ---------------------------------------------------------------------


def test_every_config_has_an_entry_and_every_entry_a_config():
    configs = {path.stem: path.relative_to(PROJECT_ROOT).as_posix() for path in list_configs()}
    assert {name: entry['Config'] for name, entry in entries().items()} == configs


def test_results_are_those_published_and_are_marked_as_such():
    found = {}
    for name, entry in entries().items():
        assert 'Weights' not in entry  # none are hosted
        for result in entry.get('Results', []):
            if result['Note'].startswith(metafiles.MEASURED):
                continue
            assert result['Note'].startswith('published in the paper, not measured with this code')
            found.setdefault(name, {}).update(result['Metrics'])
    assert found == PUBLISHED


@pytest.mark.parametrize('path', metafiles.metafiles(), ids=lambda path: path.parent.name)
def test_numbers_are_those_of_the_configs(path):
    pytest.importorskip(path.parent.name)
    assert metafiles.render(path, with_flops=False) == path.read_text()


@needs_library
def test_flops_are_those_of_the_network():
    pytest.importorskip('mmpretrain')
    path = PROJECT_ROOT / entries()[CLASSIFIER]['Config']
    computed = metafiles.computed_metadata(path)
    assert computed == entries()[CLASSIFIER]['Metadata']
    # Published: 0.9 G, of the deployed form.
    assert computed['FLOPs'] / 1e9 == pytest.approx(0.926, rel=0.03)


def test_a_check_names_what_differs_and_writes_nothing(monkeypatch):
    path = metafiles.metafiles()[0]
    before = path.read_text()
    monkeypatch.setattr(
        metafiles, 'render', lambda p: p.read_text().replace('Parameters: ', 'Parameters: 1')
    )
    with pytest.raises(UsageError, match=r'without --check(.|\n)*\+    Parameters: 1'):
        metafiles.update(check=True)
    assert path.read_text() == before


# -- look-up by name ---------------------------------------------------------------


def test_names_are_listed():
    assert NAME in tinyvim_mm.list_models()
    assert set(tinyvim_mm.list_models('mask_rcnn_tinyvim_*')) == {
        f'mask_rcnn_tinyvim_{arch}_1x_coco' for arch in 'sbl'
    }


def test_a_config_is_found_by_name():
    pytest.importorskip('mmdet')
    cfg = tinyvim_mm.get_config(NAME)
    assert cfg.model.type == 'MaskRCNN'
    assert cfg.model.backbone.arch == 'b'


def test_a_misspelt_name_suggests_the_nearest():
    with pytest.raises(UsageError, match=rf'did you mean \S*{NAME}\.py'):
        tinyvim_mm.get_config(NAME + 'o')


def test_looking_up_names_loads_nothing_heavy():
    code = (
        'import sys, tinyvim_mm; tinyvim_mm.list_models(); '
        "print([m for m in ('torch', 'mmengine', 'yaml') if m in sys.modules])"
    )
    assert python(code) == '[]'


def test_mmpretrain_builds_the_classifiers_by_name():
    mmpretrain = pytest.importorskip('mmpretrain')
    names = model_zoo.register_with_mmpretrain()
    assert names == model_zoo.register_with_mmpretrain() == tinyvim_mm.list_models('*_in1k')
    assert set(mmpretrain.list_models('tinyvim', task='Image Classification')) <= set(names)
    model = mmpretrain.get_model(CLASSIFIER)
    assert model.backbone.describe() == 'TinyViM-S'
    assert not mmpretrain.list_models('mask_rcnn_tinyvim')


def test_mmengine_lists_the_models():
    from mmengine.infer import BaseInferencer

    compat.apply()
    assert set(BaseInferencer.list_models('tinyvim_mm')) == set(tinyvim_mm.list_models())


# -- the installed package ---------------------------------------------------------


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of what a package is built from: builds leave traces."""
    folder = tmp_path_factory.mktemp('source')
    files = ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'MANIFEST.in', 'model-index.yml')
    for name in files:
        shutil.copy(PROJECT_ROOT / name, folder)
    ignored = shutil.ignore_patterns('__pycache__', '*.so', '.mim')
    for name in ('tinyvim_mm', 'configs', 'tools', 'kernels'):
        shutil.copytree(PROJECT_ROOT / name, folder / name, ignore=ignored)
    return folder


@pytest.fixture(scope='module')
def installed(source, tmp_path_factory):
    """Folder into which the wheel was unpacked; the wheel is made from the source archive."""
    folder = tmp_path_factory.mktemp('installed')
    build(source, 'build_sdist', folder)
    archive = next(folder.glob('*.tar.gz'))
    shutil.unpack_archive(archive, folder)
    build(folder / archive.name.removesuffix('.tar.gz'), 'build_wheel', folder)
    site = folder / 'site-packages'
    with zipfile.ZipFile(next(folder.glob('*.whl'))) as wheel:
        wheel.extractall(site)
    return site


def build(source, step, target):
    code = f'from setuptools import build_meta; build_meta.{step}({str(target)!r})'
    python(code, cwd=source, TINYVIM_EXTENSION='off')


def python(code, cwd=None, **variables):
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **variables},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_a_wheel_holds_configs_tools_and_index(installed):
    mim = installed / 'tinyvim_mm' / '.mim'
    for name in (*(entry['Config'] for entry in entries().values()), 'tools/train.py'):
        assert (mim / name).read_bytes() == (PROJECT_ROOT / name).read_bytes()
    for name in yaml.safe_load((mim / 'model-index.yml').read_text())['Import']:
        assert (mim / name).is_file()
    assert not (mim / 'tools' / 'setup_env').exists()
    record = next(installed.glob('*.dist-info')) / 'RECORD'
    assert 'tinyvim_mm/.mim/model-index.yml' in record.read_text()  # so that pip removes it


def test_an_installed_package_finds_its_configs(installed, tmp_path):
    pytest.importorskip('mmdet')
    child = tmp_path / 'child.py'
    child.write_text(
        f"_base_ = 'tinyvim_mm::mmdet/{NAME}.py'\nmodel = dict(backbone=dict(arch='l'))\n"
    )
    code = (
        'import tinyvim_mm\n'
        f'cfg = tinyvim_mm.get_config({NAME!r})\n'
        'from mmengine.config import Config\n'
        f'child = Config.fromfile({str(child)!r})\n'
        'print(tinyvim_mm.__file__, cfg.filename, child.model.backbone.arch, child.model.type)'
    )
    package, config, arch, kind = python(code, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    assert Path(package).parent == installed / 'tinyvim_mm'
    assert Path(config) == installed / 'tinyvim_mm' / '.mim' / 'configs' / 'mmdet' / f'{NAME}.py'
    assert (arch, kind) == ('l', 'MaskRCNN')


def test_an_editable_installation_is_linked_to_the_clone(source, tmp_path):
    build(source, 'build_editable', tmp_path)
    mim = source / 'tinyvim_mm' / '.mim'
    for name in ('configs', 'tools', 'model-index.yml'):
        assert (mim / name).resolve() == (source / name).resolve()
    assert (mim / '.gitignore').read_text() == '*\n'
    build(source, 'build_editable', tmp_path)  # again, over what is there
