"""What installations bring into every Python process of their environment."""

import importlib.util
import shutil
from pathlib import Path

import pytest
from installed import environment_with_package, finish


@pytest.fixture(scope='module', params=['clone', 'wheel'])
def python(request, tmp_path_factory):
    return environment_with_package(tmp_path_factory.mktemp(request.param), request.param)


def site_of(python):
    return next(python.parents[1].glob('lib/*/site-packages'))


def ask(python, code, folder, **variables):
    return finish([python, '-W', 'ignore', '-c', code], folder, variables).strip().splitlines()


def test_the_finder_is_in_force_and_costs_no_imports(python, tmp_path):
    code = (
        'import sys; print([type(f).__module__ for f in sys.meta_path][0]); '
        "print([m for m in ('tinyvim_mm', 'torch', 'mmengine') if m in sys.modules])"
    )
    assert ask(python, code, tmp_path) == ['_tinyvim_mm_startup', '[]']
    startup = (
        f'import sys; sys.path.append({str(site_of(python))!r}); before = {{*sys.modules}}; '
        'import _tinyvim_mm_startup; print(*sorted({*sys.modules} - before))'
    )
    loaded = finish([python, '-c', startup], tmp_path).split()
    # `from __future__ import annotations` is all that it takes beside os and sys.
    assert set(loaded) <= {'__future__', '_tinyvim_mm_startup'}


def test_a_variable_turns_it_off(python, tmp_path):
    code = 'import sys; print([type(f).__name__ for f in sys.meta_path].count("Finder"))'
    assert ask(python, code, tmp_path, TINYVIM_MM_STARTUP='0') == ['0']
    assert ask(python, code, tmp_path) == ['1']
    assert ask(python, 'import tinyvim_mm; ' + code, tmp_path) == ['1']


def test_a_plain_script_reads_a_config_that_inherits_from_this_package(python, tmp_path):
    pytest.importorskip('mmdet')
    name = 'tinyvim_mm::mmdet/mask_rcnn_tinyvim_b_1x_coco.py'
    (tmp_path / 'a.py').write_text(f"_base_ = '{name}'\npipeline = _base_.train_pipeline\n")
    code = (
        "from mmengine.config import Config; c = Config.fromfile('a.py'); "
        'import tinyvim_mm; print(c.model.backbone.arch, tinyvim_mm.__file__)'
    )
    arch, file = ask(python, code, tmp_path)[-1].split(' ', 1)
    assert arch == 'b'
    assert Path(file).is_relative_to(python.parents[2])


def test_another_copy_on_the_path_prevails(python, tmp_path):
    copy = tmp_path / 'tinyvim_mm'
    import tinyvim_mm

    shutil.copytree(
        Path(tinyvim_mm.__file__).parent,
        copy,
        ignore=shutil.ignore_patterns('__pycache__', '.mim', '*.so'),
    )
    code = (
        'import sys; import tinyvim_mm; print(tinyvim_mm.__file__); '
        'print([type(f).__module__ for f in sys.meta_path].count("_tinyvim_mm_startup"))'
    )
    assert ask(python, code, tmp_path) == [str(copy / '__init__.py'), '0']


@pytest.mark.parametrize(('version', 'loaded'), [('4.57.1', 'True'), ('5.2.0', 'False')])
def test_models_of_transformers_4_are_left_out_where_there_is_5(python, version, loaded, tmp_path):
    pytest.importorskip('mmpretrain')
    (tmp_path / 'transformers').mkdir()
    (tmp_path / 'transformers' / '__init__.py').touch()
    about = tmp_path / f'transformers-{version}.dist-info'
    about.mkdir()
    text = f'Metadata-Version: 2.1\nName: transformers\nVersion: {version}\n'
    (about / 'METADATA').write_text(text)
    code = 'from mmpretrain.utils import dependency as d; print(d.WITH_MULTIMODAL)'
    assert ask(python, code, tmp_path, PYTHONPATH=str(tmp_path))[-1] == loaded
    if loaded == 'False':  # and the other models load
        code = 'import mmpretrain.models; print("yes")'
        assert ask(python, code, tmp_path, PYTHONPATH=str(tmp_path))[-1] == 'yes'


def test_a_package_removed_in_parts_is_silent(python, tmp_path):
    # Last: it takes the environment apart.
    site = site_of(python)
    shutil.rmtree(site / 'tinyvim_mm', ignore_errors=True)
    for file in site.glob('__editable__*'):
        file.unlink()
    code = "print('ok')"
    if importlib.util.find_spec('mmengine'):
        code = 'import mmengine.config; ' + code
    assert ask(python, "print('ok')", tmp_path) == ['ok']
