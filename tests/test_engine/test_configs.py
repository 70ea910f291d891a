import pytest

pytest.importorskip('mmdet')

from tinyvim_mm.core.compat import apply
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.recipes.configs import find_config, list_configs, load_config

NAME = 'mask_rcnn_tinyvim_b_1x_coco'


@pytest.fixture(autouse=True)
def _compat():
    apply()


@pytest.mark.parametrize('name', [NAME, f'{NAME}.py', f'configs/mmdet/{NAME}.py'])
def test_a_config_is_found_by_name_and_by_path_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == PROJECT_ROOT / 'configs' / 'mmdet' / f'{NAME}.py'


def test_a_file_of_the_user_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f'{NAME}.py').write_text('')
    assert find_config(f'{NAME}.py').resolve() == tmp_path / f'{NAME}.py'


@pytest.mark.parametrize(
    'name', ['mask_rcnn_tinyvim_b_1x_cocoo', f'configs/mmdet/{NAME.replace("rcnn", "rcn")}.py']
)
def test_a_misspelled_name_suggests_the_nearest(name):
    with pytest.raises(UsageError, match=rf"no config '{name}'.*did you mean \S*{NAME}\.py\?"):
        find_config(name)


def test_a_foreign_name_lists_the_configs():
    with pytest.raises(UsageError, match='the configs of this project are') as caught:
        find_config('zzz')
    for path in list_configs():
        assert path.name in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / 'notes.txt'
    path.touch()
    with pytest.raises(UsageError, match=r"notes\.txt' is no config: mmengine reads \.py,"):
        find_config(str(path))


def test_a_config_of_no_toolbox_is_refused(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text("default_scope = 'mmpose'\n")
    with pytest.raises(UsageError, match=r"default_scope='mmpose'.*mmdet, mmseg, mmpretrain"):
        load_config(path)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('a.yml', '_base_: ./base.py\nx: "{{ fileDirname }}"\nmodel: {backbone: {arch: l}}\n'),
        ('a.yaml', '_base_: [./base.py]\nx: {{ fileDirname }}\nmodel: {backbone: {arch: l}}\n'),
        (
            'a.json',
            '{"_base_": "base.py", "x": "{{ fileDirname }}", "model": {"backbone": {"arch": "l"}}}',
        ),
    ],
)
def test_yaml_and_json_are_read_as_mmengine_reads_them(name, text, tmp_path):
    (tmp_path / 'base.py').write_text(f"_base_ = 'tinyvim_mm::mmdet/{NAME}.py'\n")
    (tmp_path / name).write_text(text)
    cfg = load_config(find_config(str(tmp_path / name)))
    assert cfg.model.backbone.arch == 'l'
    assert cfg.model.type == 'MaskRCNN'
    assert cfg.x == str(tmp_path)


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('a.yml', 'x: [1\n', r'a\.yml cannot be read as yml: (.|\n)*line 2'),
        ('a.json', '{"x": }', r'a\.json cannot be read as json: .*line 1'),
        ('a.json', '[1, 2]', r'a\.json is no config: it holds no mapping'),
    ],
)
def test_a_yaml_or_json_file_that_cannot_be_read_is_named(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        load_config(tmp_path / name)


def test_a_missing_toolbox_of_a_yaml_config_is_named(tmp_path, monkeypatch):
    from tinyvim_mm.core import environment

    (tmp_path / 'a.yml').write_text('_base_: tinyvim_mm::mmseg/fpn_tinyvim_s_40k_ade20k.py\n')
    real = environment.importlib.util.find_spec
    monkeypatch.setattr(
        environment.importlib.util,
        'find_spec',
        lambda name, *rest: None if name == 'mmseg' else real(name, *rest),
    )
    with pytest.raises(environment.MissingPackageError, match=r'mmseg: not installed'):
        load_config(tmp_path / 'a.yml')


def test_a_misspelled_base_of_this_package_names_the_nearest(tmp_path):
    (tmp_path / 'a.py').write_text(f"_base_ = 'tinyvim_mm::mmdet/{NAME}o.py'\n")
    with pytest.raises(UsageError, match=rf'did you mean tinyvim_mm::mmdet/{NAME}\.py'):
        load_config(tmp_path / 'a.py')


def test_what_a_config_takes_over_by_base_has_no_foreign_scope(tmp_path):
    (tmp_path / 'a.py').write_text(
        "_base_ = 'tinyvim_mm::mmseg/fpn_tinyvim_s_40k_ade20k.py'\n"
        'pipeline = _base_.test_pipeline\n'
    )
    cfg = load_config(tmp_path / 'a.py')
    assert [step.get('_scope_') for step in cfg.pipeline] == [None] * len(cfg.pipeline)


def test_a_syntax_error_names_file_and_line(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text('x = 1\ny = = 2\n')
    with pytest.raises(UsageError, match=r'a\.py, line 2: invalid syntax'):
        load_config(path)


def test_a_missing_base_is_named(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text("_base_ = './absent.py'\n")
    with pytest.raises(UsageError, match=r'inherits from a file that does not exist: .*absent\.py'):
        load_config(path)


@pytest.mark.parametrize('toolbox', ['mmdet', 'mmseg', 'mmpretrain'])
def test_a_missing_toolbox_is_named_with_its_cure(toolbox, tmp_path, monkeypatch):
    from tinyvim_mm.core import environment

    path = tmp_path / 'child.py'
    path.write_text("_base_ = ['./base.py']\n")
    (tmp_path / 'base.py').write_text(f"_base_ = '{toolbox}::_base_/default_runtime.py'\n")
    real = environment.importlib.util.find_spec
    monkeypatch.setattr(
        environment.importlib.util,
        'find_spec',
        lambda name, *rest: None if name == toolbox else real(name, *rest),
    )
    with pytest.raises(environment.MissingPackageError, match=rf'{toolbox}: not installed\n.*pip'):
        load_config(path)


def test_the_metafiles_of_a_toolbox_are_read_once():
    from mmengine.config import utils

    load_config(find_config(NAME))
    misses = utils.load.cache_info().misses
    load_config(find_config(NAME))
    assert utils.load.cache_info().misses == misses > 0
