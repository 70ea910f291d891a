"""Importing the package, and what it says when something is missing."""

import subprocess
import sys

import pytest

from tinyvim_mm.core import environment, mmcv_operators


def run(code):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)


def test_importing_the_package_loads_nothing_heavy():
    heavy = ['torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain']
    code = f'import tinyvim_mm, sys; print([m for m in {heavy} if m in sys.modules])'
    assert run(code).stdout.strip() == '[]'


def test_models_load_no_toolbox():
    toolboxes = ['mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'torchvision', 'timm']
    names = [
        'TinyViM',
        'MobileMamba',
        'EfficientVMamba',
        'VMamba',
        'UpsamplingFPN',
        'NormClassifier',
    ]
    code = (
        f'import tinyvim_mm, sys; [getattr(tinyvim_mm, name) for name in {names}]; '
        f'print([m for m in {toolboxes} if m in sys.modules])'
    )
    assert run(code).stdout.strip() == '[]'


def test_operators_load_no_models():
    code = (
        'import tinyvim_mm.ops, sys; '
        'print([m for m in sys.modules if m.startswith(("mmengine", "tinyvim_mm.models"))])'
    )
    assert run(code).stdout.strip() == '[]'


@pytest.mark.slow
def test_report_of_the_environment():
    lines = run('import runpy; runpy.run_module("tinyvim_mm", run_name="__main__")').stdout
    for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'triton'):
        assert f'\n{name} ' in lines


def test_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(environment.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(environment.MissingPackageError) as error:
        environment.require('mmdet', purpose='This config')
    message = str(error.value)
    assert message.startswith('This config needs packages that are not usable here:')
    assert 'mmdet: not installed' in message
    family = environment.STACKS[environment.installed_stack() or environment.DEFAULT_STACK]
    assert f"cure: pip install '{family['mmdet']}'" in message


def test_mmcv_without_operators_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(mmcv_operators, 'compiled_file', lambda: None)
    monkeypatch.setattr(mmcv_operators, 'torchvision_problem', lambda: 'it is broken')
    with pytest.raises(environment.MissingPackageError) as error:
        environment.require('mmcv', purpose='Mask R-CNN')
    assert 'the "lite" build' in str(error.value)
    assert '--no-build-isolation' in str(error.value)


def test_package_that_fails_to_import_is_named(monkeypatch):
    def broken(name):
        raise RuntimeError('operator torchvision::nms does not exist')

    monkeypatch.setattr(environment.importlib, 'import_module', broken)
    with pytest.raises(environment.MissingPackageError, match=r'fails to import \(RuntimeError'):
        environment.require('mmdet', purpose='This config')


def test_families_name_the_same_packages():
    onedl, upstream = (environment.STACKS[name] for name in ('onedl', 'openmmlab'))
    assert list(onedl) == list(upstream)
