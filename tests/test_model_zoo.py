"""Configs by name, metafiles, and what an installed package holds."""

import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest
import yaml
from scan_cases import needs_library

import tinyvim_mm
from tinyvim_mm.core import compat
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.pages import between_markers
from tinyvim_mm.core.paths import MODEL_INDEX, PROJECT_ROOT
from tinyvim_mm.recipes import metafiles
from tinyvim_mm.recipes import zoo as model_zoo
from tinyvim_mm.recipes.configs import list_configs
from tinyvim_mm.recipes.zoo_table import MARKER, published_table

NAME = 'mask_rcnn_tinyvim_b_1x_coco'
CLASSIFIER = 'tinyvim_s_300e_in1k'


@cache
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


def results():
    """Name and result, of all metafiles and of the peers."""
    peers = yaml.safe_load(metafiles.PEERS.read_text())
    collections = {collection['Name'] for collection in peers['Collections']}
    assert {entry['In Collection'] for entry in peers['Models']} == collections
    names = [entry['Name'] for entry in peers['Models']]
    assert len(set(names)) == len(names)
    for entry in [*entries().values(), *peers['Models']]:
        assert 'Weights' not in entry  # none are hosted
        for result in entry.get('Results', []):
            yield entry['Name'], result


#: What results may say, and between which limits.
SCORES = {
    ('Image Classification', 'ImageNet-1k'): {'Top 1 Accuracy': (70, 85)},
    ('Object Detection', 'COCO'): {'box AP': (20, 50), 'mask AP': (30, 45)},
    ('Instance Segmentation', 'COCO'): {'mask AP': (30, 45)},
    ('Semantic Segmentation', 'ADE20K'): {'mIoU': (35, 55), 'mIoU (several scales)': (35, 55)},
}
COSTS = {
    'Parameters (M)': (5, 130),
    'GMACs without the scan': (0.5, 5),
    'GMACs with the scan': (0.5, 1200),
    'Images/s': (50, 3000),
    'Top 1 Accuracy gained': (0, 1),
}


def test_results_name_source_task_and_plausible_figures():
    sources = (metafiles.PUBLISHED, metafiles.RELEASED, metafiles.MEASURED)
    for name, result in results():
        note = result.get('Note')
        assert note.startswith(sources) if name in entries() else note is None, name
        known = {**SCORES[result['Task'], result['Dataset']], **COSTS}
        for metric, figure in result['Metrics'].items():
            low, high = known[metric]
            assert low <= figure <= high, (name, metric)


def test_published_figures_fit_each_other():
    for name, entry in entries().items():
        found = metafiles.figures(name)
        if 'mask AP' in found:
            assert found['mask AP'] < found['box AP'], name
        if '_1000e_' in name:
            short = metafiles.figures(name.replace('1000e', '300e'))
            assert found['Top 1 Accuracy'] > short['Top 1 Accuracy'], name
        if name.endswith('_in1k'):
            assert set(found) >= {'Top 1 Accuracy'}, name
        # The release gives a figure of its own only where it differs.
        for metric, figure in metafiles.figures(name, metafiles.RELEASED).items():
            assert figure != found[metric], name
        for result in entry.get('Results', []):
            assert result['Metrics'], name
    sizes = [f'tinyvim_{arch}_300e_in1k' for arch in 'sbl']
    for metric in ('Top 1 Accuracy', 'Parameters (M)', 'GMACs without the scan'):
        figures = [metafiles.figures(name)[metric] for name in sizes]
        assert figures == sorted(set(figures)), metric


def test_the_readme_has_the_table_of_the_metafiles():
    readme = PROJECT_ROOT / 'README.md'
    table = published_table([yaml.safe_load(p.read_text()) for p in metafiles.metafiles()])
    assert between_markers(readme, MARKER, table) == readme.read_text()


def test_a_row_holds_all_sizes_published_and_measured():
    collection = {
        'Name': 'A',
        'Metadata': {'Training Data': 'COCO'},
        'Paper': {'URL': 'a', 'Title': 'A'},
    }

    def entry(arch, parameters, *found):
        return {
            'Config': f'configs/mmdet/x_tiny_{arch}_1x.py',
            'In Collection': 'A',
            'Metadata': {'Backbone': f'tiny_{arch}', 'Parameters': parameters, 'FLOPs': 1},
            'Results': [{'Metrics': metrics, 'Note': note} for note, metrics in found],
        }

    models = [
        entry('l', 2, ('published in the paper', {'box AP': 50.1, 'Images/s': 99})),
        entry('s', 1, ('measured with this code: x', {'box AP': 40.0})),
    ]
    models[0]['Results'].append({'Metrics': {'box AP': 50.2}, 'Note': 'published with the release'})
    table = published_table([{'Collections': [collection], 'Models': models}])
    assert table.splitlines()[2:] == [
        '| `configs/mmdet/x_tiny_{s,l}_1x.py` | COCO | box AP – / 50.1 (50.2 with the release) | '
        'box AP 40.0 / – |'
    ]


def test_markers_are_asked_for(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('nothing')
    with pytest.raises(UsageError, match=r'page\.md has no marker <!-- models -->; put it and'):
        between_markers(page, MARKER, '')


@pytest.mark.parametrize('path', metafiles.metafiles(), ids=lambda path: path.parent.name)
def test_numbers_are_those_of_the_configs(path, monkeypatch):
    pytest.importorskip(path.parent.name)
    from recipe_cases import load

    monkeypatch.setattr(metafiles, 'load_config', lambda config: load(config.stem))
    assert metafiles.render(path, with_flops=False) == path.read_text()


@needs_library
def test_flops_are_those_of_the_network():
    pytest.importorskip('mmpretrain')
    path = PROJECT_ROOT / entries()[CLASSIFIER]['Config']
    computed = metafiles.computed_metadata(path)
    assert computed == entries()[CLASSIFIER]['Metadata']
    # Published is the deployed form, without the scan.
    published = metafiles.figures(CLASSIFIER)['GMACs without the scan']
    assert computed['FLOPs'] / 1e9 == pytest.approx(published, rel=0.06)


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


def test_a_misspelled_name_suggests_the_nearest():
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
    assert (mim / metafiles.PEERS.relative_to(PROJECT_ROOT)).is_file()
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
