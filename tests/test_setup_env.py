"""The set-up of a clone (tools/setup_env): what it asks uv for, and what it takes for done."""

import argparse
import importlib
import io
import json
import sys
from types import SimpleNamespace

import pytest

from tinyvim_mm.core.paths import PROJECT_ROOT

OPTIONS = dict.fromkeys(
    ('device', 'stack', 'torch', 'mmcv', 'mmcv_wheels', 'torch_index', 'python')
)
PIP_CONFIG = """\
:env:.find-links='/opt/other'
global.constraint='/etc/one.txt'
global.extra-index-url='file:///opt/simple https://mirror/simple'
global.find-links='/opt/wheels'
global.index-url='https://example.org/simple'
global.cert='/etc/ca.crt'
"""


@pytest.fixture
def setup_env(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(PROJECT_ROOT / 'tools'))
    names = ('common', 'uv', 'interpreter', 'wanted', 'torch_pair', 'mmcv', 'steps')
    modules = {name: importlib.import_module(f'setup_env.{name}') for name in names}
    wanted = modules['wanted']
    monkeypatch.setattr(wanted, 'VENV', tmp_path / '.venv')
    monkeypatch.setattr(wanted, 'STAMPS', tmp_path / '.venv' / '.tinyvim')
    monkeypatch.setattr(wanted, 'STATE', tmp_path / '.venv' / '.tinyvim' / 'state.json')
    monkeypatch.setattr(wanted, 'has_gpu', lambda: False)
    (tmp_path / '.venv').mkdir()
    return SimpleNamespace(**modules)


def wanted(setup_env, **options):
    return setup_env.wanted.Wanted(argparse.Namespace(**{**OPTIONS, **options}))


def test_uv_is_told_how_pip_is_configured(setup_env, monkeypatch):
    for name in ('UV_INDEX', 'UV_FIND_LINKS', 'SSL_CERT_FILE', 'UV_CONSTRAINT'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('UV_DEFAULT_INDEX', 'https://mine/simple')
    options = setup_env.uv.read_configuration(PIP_CONFIG.splitlines())
    variables = setup_env.uv.translated(options)
    assert variables['UV_INDEX'] == 'file:///opt/simple https://mirror/simple'
    assert variables['UV_FIND_LINKS'] == '/opt/other', 'a variable counts more than a file'
    assert variables['UV_CONSTRAINT'] == '/etc/one.txt'
    assert variables['SSL_CERT_FILE'] == '/etc/ca.crt'
    assert 'UV_DEFAULT_INDEX' not in variables, 'what is set for uv itself stays'
    assert variables['UV_INDEX_STRATEGY'] == 'unsafe-best-match'


def test_without_pip_the_newest_uv_for_this_machine_is_fetched_and_checked(
    setup_env, monkeypatch, tmp_path
):
    uv = setup_env.uv
    files = [
        {'filename': f'uv-{version}-py3-none-{kind}_x86_64.whl', 'url': '../a', 'hashes': {}}
        for version in ('0.9.9', '0.13.9', '0.14.0rc1')
        for kind in ('manylinux2014', 'musllinux_1_1', 'macosx_11_0')
    ]
    for each in files:
        each['hashes'] = {'sha256': '0' * 64}
    answers = [json.dumps({'files': files}).encode(), b'not it']
    monkeypatch.setattr(uv.platform, 'machine', lambda: 'x86_64')
    monkeypatch.setattr(uv.platform, 'system', lambda: 'Linux')
    monkeypatch.setattr(uv.urllib.request, 'urlopen', lambda *a, **k: io.BytesIO(answers.pop(0)))
    done, problem = uv.download_wheel(str(tmp_path))
    assert not done
    assert 'sha256' in problem
    assert uv.release('uv-0.13.9-py3.whl') > uv.release('uv-0.9.9-py3.whl')
    assert uv.release('uv-0.14.0rc1-py3.whl') < uv.release('uv-0.9.9-py3.whl')


def test_torch_is_taken_with_a_torchvision_that_fits_cpu_builds_first(setup_env):
    every = [each for each, _ in setup_env.torch_pair.candidates(wanted(setup_env, device='cpu'))]
    pins = wanted(setup_env).pins
    assert every[0] == [pins.TORCH + '+cpu', pins.TORCHVISION + '+cpu']
    assert every[1] == [pins.TORCH, pins.TORCHVISION, '--torch-backend', 'cpu']
    assert every[-1] == [pins.TORCH, pins.TORCHVISION]
    mixed = [pins.TORCH + '+cpu', pins.TORCHVISION]
    assert mixed not in every, "mmcv's operators would not work on it"
    compiled = wanted(setup_env, device='cpu', mmcv='compiled')
    assert mixed in [each for each, _ in setup_env.torch_pair.candidates(compiled)]


def test_an_index_that_was_named_is_the_only_one(setup_env):
    asked = wanted(setup_env, torch_index='https://mirror/cpu')
    ((arguments, note),) = setup_env.torch_pair.candidates(asked)
    assert arguments[-2:] == ['--default-index', 'https://mirror/cpu']
    assert note == ''


def test_what_was_chosen_stays_until_another_family_is(setup_env):
    first = wanted(setup_env, mmcv='compiled', torch='2.13.0', device='cpu')
    first.keep(venv=first.venv_key())
    again = wanted(setup_env)
    assert (again.mmcv, again.torch, again.device) == ('compiled', 'torch==2.13.0', 'cpu')
    assert again.torchvision == 'torchvision', 'uv finds the one that fits'
    assert again.venv_key() == first.venv_key()
    back = wanted(setup_env, mmcv='torchvision')
    assert back.packages_key() != first.packages_key()
    assert back.venv_key() == first.venv_key(), 'the folder is kept'
    first.record['mmcv_wheels'] = 'folder'
    first.keep()
    assert wanted(setup_env).mmcv_wheels == 'folder'
    assert wanted(setup_env, mmcv='torchvision').mmcv_wheels == ''
    other = wanted(setup_env, stack='openmmlab')
    assert other.mmcv == 'compiled'
    assert other.torch == other.pins.STACK_TORCH['openmmlab'][0]


def test_packages_that_a_killed_uv_left_are_forgotten(setup_env, monkeypatch, tmp_path):
    monkeypatch.setattr(setup_env.steps, 'site_packages', lambda: tmp_path)
    for name, files in (('a-1.dist-info', ('INSTALLER', 'RECORD')), ('b-1.dist-info', ('RECORD',))):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
    setup_env.steps.forget_half_installed()
    assert [path.name for path in tmp_path.glob('*.dist-info')] == ['a-1.dist-info']


def test_a_wheel_that_was_handed_over_fits_python_and_version(setup_env, monkeypatch, tmp_path):
    tag = 'cp{}{}'.format(*sys.version_info)
    monkeypatch.setattr(setup_env.mmcv, 'ask_venv', lambda code: (True, [tag]))
    asked = wanted(setup_env, mmcv_wheels=str(tmp_path))
    assert setup_env.mmcv.handed_wheel(asked) is None
    machine = setup_env.mmcv.sysconfig.get_platform().replace('-', '_').replace('.', '_')
    version = asked.mmcv_requirement.partition('==')[2]
    (tmp_path / f'onedl_mmcv-{version}-cp27-cp27-{machine}.whl').touch()
    assert setup_env.mmcv.handed_wheel(asked) is None
    wheel = tmp_path / f'onedl_mmcv-{version}-{tag}-{tag}-{machine}.whl'
    wheel.touch()
    assert setup_env.mmcv.handed_wheel(asked) == wheel


def test_an_unsupported_python_is_named(setup_env):
    with pytest.raises(setup_env.common.SetupError, match=r'3\.10 to 3\.14 is needed; 3\.9'):
        setup_env.interpreter.ensure_supported_python('3.9')


def test_a_failed_command_shows_the_end_of_its_log(setup_env, tmp_path):
    log = tmp_path / 'log'
    command = [sys.executable, '-c', 'import sys; print("why"); sys.exit(3)']
    with pytest.raises(setup_env.common.SetupError, match=r'status 3[\s\S]*\| why'):
        setup_env.common.run('it', command, log=log)
