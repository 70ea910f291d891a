"""``tinyvim-mm doctor``: what it says of a sound installation, and of each fault."""

import dataclasses
import importlib
import json
import sys
import types

import pytest
import torch

from tinyvim_mm import __main__ as command
from tinyvim_mm.core import environment, mmcv_operators
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.doctor import extension, packages, scan, torch_build
from tinyvim_mm.doctor.finding import FAULT, NOTE, OK
from tinyvim_mm.ops import backends
from tinyvim_mm.ops.backends import compiled
from tinyvim_mm.ops.backends.compose import compose_ss2d


@pytest.fixture(autouse=True)
def _without_the_interpreter(monkeypatch, request):
    """Triton's, which takes seconds for the scan that the doctor computes."""
    if request.function is not test_a_sound_installation_has_no_fault_and_names_every_backend:
        monkeypatch.delenv('TRITON_INTERPRET', raising=False)


def only(findings, subject):
    (finding,) = [finding for finding in findings if finding.subject == subject]
    return finding


@pytest.fixture
def absent(monkeypatch):
    """Let import names vanish."""

    def hide(*names):
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, 'find_spec', lambda name: None if name in names else find_spec(name)
        )

    return hide


@pytest.fixture
def recorded(monkeypatch):
    """Let pip have other distributions on record."""

    def record(**versions):
        versions = {name.replace('_', '-'): version for name, version in versions.items()}
        installed = environment.installed_version
        monkeypatch.setattr(
            environment, 'installed_version', lambda name: versions.get(name, installed(name))
        )

    return record


def test_a_sound_installation_has_no_fault_and_names_every_backend(capsys):
    assert command.main(['doctor']) == 0
    printed = capsys.readouterr().out
    for name, obstacle in backends.available_backends('cpu').items():
        assert obstacle is not None or f'scan {name} on cpu ' in printed
    assert 'FAULT' not in printed
    assert printed.rstrip().split('\n')[-1].startswith('no faults, ')


def test_a_fault_is_printed_with_its_cure_and_sets_the_exit_code(capsys, absent):
    absent('mmengine')
    assert command.main(['doctor', '--json']) == 1
    told = json.loads(capsys.readouterr().out)
    assert told['ok'] is False
    finding = next(f for f in told['findings'] if f['subject'] == 'mmengine')
    assert finding['status'] == 'FAULT'
    assert 'pip install' in finding['cure']
    assert command.main(['doctor']) == 1
    assert f'cure: {finding["cure"]}' in capsys.readouterr().out


def test_two_families_at_once(recorded):
    recorded(onedl_mmcv='2.3.6', onedl_mmengine='0.10.12', mmcv='2.1.0')
    finding = only(packages.check_packages(), 'OpenMMLab family')
    assert finding.status == FAULT
    assert 'mmcv of openmmlab' in finding.detail
    assert finding.cure.startswith('pip uninstall -y onedl-mmengine onedl-mmcv')
    assert 'MMCV_WITH_OPS=1' in finding.cure


def test_files_that_the_removal_of_the_other_family_took_away(absent, recorded):
    name = environment.distribution_of('mmdet')
    recorded(**{name: '3.5.1'})
    absent('mmdet')
    finding = only(packages.check_packages(), 'mmdet')
    assert finding.status == FAULT
    assert f'{name} 3.5.1 is recorded as installed, but its files are gone' in finding.detail
    assert finding.cure.startswith(f'pip uninstall -y {name} && pip install')


@pytest.mark.parametrize(('with_mmdet', 'status'), [(True, FAULT), (False, NOTE)])
def test_mmcv_without_its_operators(with_mmdet, status, absent, monkeypatch):
    pytest.importorskip('mmdet')
    monkeypatch.setattr(mmcv_operators, 'compiled_file', lambda: None)
    monkeypatch.setattr(mmcv_operators, 'torchvision_problem', lambda: 'it is broken')
    absent(*([] if with_mmdet else ['mmdet']))
    finding = only(packages.check_packages(), 'mmcv')
    assert finding.status == status
    assert '--no-build-isolation' in finding.cure


def test_mmcv_on_torchvision(monkeypatch):
    pytest.importorskip('mmcv')
    monkeypatch.setattr(mmcv_operators, 'choice', lambda: mmcv_operators.TORCHVISION)
    finding = only(packages.check_packages(), 'mmcv')
    assert finding.status == NOTE
    assert 'its operators on torchvision' in finding.detail
    assert 'MMCV_WITH_OPS=1' in finding.cure


@pytest.mark.parametrize('name', ['mmdet', 'mmcv._ext'])
def test_a_package_that_does_not_import(name, monkeypatch):
    pytest.importorskip('mmdet')
    load = importlib.import_module

    def broken(wanted):
        if wanted == name:
            raise ImportError('undefined symbol: _ZN3c10\nmore')
        return load(wanted)

    monkeypatch.setattr(packages.importlib, 'import_module', broken)
    finding = only(packages.check_packages(), name.partition('.')[0])
    assert finding.status == FAULT
    assert finding.detail.endswith('ImportError: undefined symbol: _ZN3c10')
    assert 'pip install' in finding.cure


def test_what_a_toolbox_needs_and_does_not_declare(absent):
    pytest.importorskip('mmseg')
    absent('ftfy')
    assert only(packages.check_packages(), 'ftfy').cure == 'pip install ftfy'


def test_torchvision_for_another_torch(monkeypatch):
    pytest.importorskip('torchvision')
    monkeypatch.setattr(torch_build.metadata, 'requires', lambda name: ['numpy', 'torch==1.2.3'])
    finding = only(torch_build.check_torch(), 'torchvision')
    assert finding.status == FAULT
    assert 'is made for torch 1.2.3' in finding.detail
    assert environment.TORCHVISION in finding.cure


def test_an_old_torch(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '1.13.1')
    assert 'older than 2.1' in only(torch_build.check_torch(), 'torch').detail


def test_a_torch_whose_safe_reader_is_not(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.5.1+cpu')
    finding = only(torch_build.check_torch(), 'torch')
    assert finding.status == NOTE
    assert 'CVE-2025-32434' in finding.detail
    assert '2.6' in finding.cure


@pytest.mark.parametrize(
    ('built', 'status', 'words'),
    [
        (None, NOTE, 'everything runs on the CPU'),
        ('13.0', FAULT, 'torch for CUDA 13.0 sees no device'),
    ],
)
def test_a_gpu_that_torch_does_not_see(built, status, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.version, 'cuda', built)
    monkeypatch.setattr(torch_build.shutil, 'which', lambda name: f'/usr/bin/{name}')
    finding = torch_build._gpu()
    assert finding.status == status
    assert words in finding.detail
    assert finding.cure


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of compute capability 9.0, for what only asks about it."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda *device: (9, 0))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda *device: 'a GPU')


@pytest.mark.usefixtures('gpu')
@pytest.mark.parametrize(('listed', 'status'), [('sm_75 sm_80', FAULT), ('sm_80 sm_90', OK)])
def test_a_torch_without_kernels_for_the_gpu(listed, status, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_arch_list', listed.split)
    assert torch_build._gpu().status == status


@pytest.mark.parametrize(
    ('architectures', 'capability', 'runs'),
    [
        ('8.0', (8, 6), True),  # the same major version
        ('8.6', (8, 0), False),
        ('8.0', (9, 0), False),
        ('8.0+PTX', (9, 0), True),  # compiled by the driver
        ('9.0a', (9, 0), True),
        ('7.5;8.0;9.0+PTX', (12, 0), True),
        ('10.0', (10, 3), True),
        ('9.0+PTX', (8, 9), False),
    ],
)
def test_which_gpus_compiled_code_runs_on(architectures, capability, runs):
    codes = extension.machine_codes(architectures)
    assert torch_build.covers(codes, *capability) is runs


def test_operators_that_do_not_load(monkeypatch):
    problem = backends.Obstacle('compiled for another; again', compiled.BUILD)
    monkeypatch.setattr(compiled, 'LIBRARY_PROBLEM', problem)
    (finding,) = extension.check_extension()
    assert (finding.status, finding.cure) == (FAULT, compiled.BUILD)
    slow = only(scan.check_scan(), 'scan cpu on cpu')
    assert slow.status == FAULT
    assert slow.detail.startswith('the scan is slow here: compiled for another')
    assert slow.cure == compiled.BUILD


needs_library = pytest.mark.skipif(
    compiled.LIBRARY_PROBLEM is not None, reason='the operators were not compiled'
)


@needs_library
@pytest.mark.parametrize(
    ('version', 'status'), [('2.99.0', FAULT), (torch.__version__.split('+')[0] + '+xyz', NOTE)]
)
def test_operators_for_another_torch_that_load(version, status, monkeypatch):
    monkeypatch.setattr(torch, '__version__', version)
    finding = extension.check_extension()[0]
    assert finding.status == status
    assert finding.cure == compiled.BUILD


@needs_library
def test_operators_of_two_builds(monkeypatch, tmp_path):
    files = [tmp_path / '_C.cpython-311.so', tmp_path / '_C.so']
    monkeypatch.setattr(compiled, 'libraries', lambda: files)
    finding = extension.check_extension()[0]
    assert finding.status == FAULT
    assert '_C.so: one of them is of an earlier build' in finding.detail


@pytest.mark.usefixtures('gpu')
@pytest.mark.parametrize(('listed', 'status'), [('7.5;8.0', FAULT), ('8.0+PTX', OK)])
def test_operators_for_other_gpus(listed, status, monkeypatch):
    monkeypatch.setattr(compiled, 'HAS_CUDA_KERNELS', True)
    finding = extension._cuda(f'tinyvim_mm operators for torch 2.9.0, architectures {listed}')
    assert finding.status == status
    assert status == OK or finding.cure.startswith('TORCH_CUDA_ARCH_LIST=9.0 FORCE_CUDA=1 pip')


def test_the_library_says_for_which_torch_it_is():
    assert extension.built_for('x for torch 2.9.0+cu130, architectures 9.0') == '2.9.0+cu130'
    assert extension.built_for('x for torch 2.13.0+cpu') == '2.13.0+cpu'


@pytest.mark.parametrize(
    ('damage', 'words'),
    [
        (lambda y: y * 1.1, 'computes wrongly: relative error 1.0e-01'),
        (lambda y: y * float('nan'), 'computes wrongly: relative error nan'),
        (lambda y: y.view(1, 2, 3), 'fails: RuntimeError: shape'),
    ],
)
def test_a_backend_that_computes_wrongly(damage, words, monkeypatch):
    right = backends.BACKENDS['parallel']
    wrong = dataclasses.replace(
        right, ss2d=lambda *arguments: damage(compose_ss2d(right.selective_scan, *arguments))
    )
    monkeypatch.setitem(backends.BACKENDS, 'parallel', wrong)
    finding = only(scan.check_scan(), 'scan parallel on cpu')
    assert finding.status == FAULT
    assert words in finding.detail
    assert 'TINYVIM_SSM_BACKEND=reference' in finding.cure


def test_a_check_that_breaks_is_a_finding(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'tinyvim_mm.doctor.scan', types.ModuleType('broken'))
    assert command.main(['doctor']) == 1
    assert 'cannot be checked: AttributeError' in capsys.readouterr().out


# -- errors that stem from the environment ------------------------------------------


def test_missing_packages_point_to_the_doctor(absent):
    absent('mmdet')
    with pytest.raises(environment.MissingPackageError, match=environment.DOCTOR):
        environment.require('mmdet', purpose='This config')


def test_backends_that_cannot_run_point_to_the_doctor():
    with pytest.raises(backends.BackendUnavailableError, match=environment.DOCTOR):
        backends.choose_backend('cuda', torch.zeros(1))


def test_a_slow_scan_points_to_the_doctor(monkeypatch):
    monkeypatch.setattr(backends, '_announced', set())
    with pytest.warns(UserWarning, match=environment.DOCTOR):
        backends._announce_slow_path('cpu', backends.Obstacle('of a test'))


def test_missing_safetensors_points_to_the_doctor(monkeypatch):
    from tinyvim_mm.weights import safetensors_file

    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    with pytest.raises(safetensors_file.MissingError, match=environment.DOCTOR):
        safetensors_file.require()


def test_what_a_machine_has_not_points_to_the_doctor():
    from tinyvim_mm.core.devices import find_device

    with pytest.raises(UsageError, match=environment.DOCTOR):
        find_device('cuda:99')


def test_a_row_of_a_table_without_timm_points_to_the_doctor(monkeypatch):
    from tinyvim_mm.reproduction import networks

    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(networks.UnavailableError, match=environment.DOCTOR):
        networks._timm('resnet18')


def test_addresses_without_opencv_point_to_the_doctor(monkeypatch):
    from tinyvim_mm.weights import files as checkpoint

    monkeypatch.setattr(checkpoint, 'CheckpointLoader', None)
    monkeypatch.setenv('TINYVIM_MM_ALLOW_DOWNLOAD', '1')
    with pytest.raises(checkpoint.CheckpointError, match=environment.DOCTOR):
        checkpoint.load_file('torchvision://resnet18')  # a name that mmengine knows


def test_missing_onnxruntime_points_to_the_doctor(monkeypatch):
    from tinyvim_mm.export import runtime

    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(environment.MissingPackageError, match=environment.DOCTOR):
        runtime.make_session('x.onnx')
