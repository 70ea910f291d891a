"""Which form of mmcv's operators is taken, and what the other names say."""

import logging
import subprocess
import sys

import pytest
import torch
from test_mmcv_ext.forms import need_compiled, need_torchvision

from tinyvim_mm.core import environment, mmcv_operators
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.mmcv_operators import COMPILED, TORCHVISION, VARIABLE, Obstacle


@pytest.fixture
def found(monkeypatch):
    """Say what there is: a compiled file, and a problem with torchvision, or none of both."""

    def say(compiled, problem=None):
        file = '_ext.so' if compiled else None
        monkeypatch.setattr(mmcv_operators, 'compiled_file', lambda: file)
        monkeypatch.setattr(mmcv_operators, 'torchvision_problem', lambda: problem)

    monkeypatch.delenv(VARIABLE, raising=False)
    return say


@pytest.mark.parametrize(
    ('wanted', 'compiled', 'form'),
    [
        (None, True, COMPILED),
        ('', True, COMPILED),
        ('auto', True, COMPILED),
        ('auto', False, TORCHVISION),
        ('compiled', True, COMPILED),
        ('torchvision', True, TORCHVISION),
        ('torchvision', False, TORCHVISION),
    ],
)
def test_what_is_taken(wanted, compiled, form, found, monkeypatch):
    found(compiled)
    if wanted is not None:
        monkeypatch.setenv(VARIABLE, wanted)
    assert mmcv_operators.choice() == form
    assert mmcv_operators.stands_in() == (form == TORCHVISION)


def test_a_bad_value_names_the_choices(found, monkeypatch):
    found(True)
    monkeypatch.setenv(VARIABLE, 'fast')
    with pytest.raises(UsageError, match="is 'fast', which is none of auto, compiled, torchvision"):
        mmcv_operators.stands_in()


def test_compiled_refuses_the_stand_in(found, monkeypatch):
    found(False)
    monkeypatch.setenv(VARIABLE, COMPILED)
    form = mmcv_operators.choice()
    assert isinstance(form, Obstacle)
    assert 'allows no others' in form.reason
    assert 'MMCV_WITH_OPS=1' in form.cure
    assert not mmcv_operators.stands_in()  # mmcv says itself that the file is missing


@pytest.mark.parametrize('compiled', [False, True])
def test_a_broken_torchvision_that_is_asked_for(compiled, found, monkeypatch):
    found(compiled, 'its operators do not load')
    monkeypatch.setenv(VARIABLE, TORCHVISION)
    with pytest.raises(UsageError, match='its operators do not load\ncure: install the torchvis'):
        mmcv_operators.stands_in()


def test_neither_form(found):
    found(False, 'torchvision is not installed')
    assert not mmcv_operators.stands_in()
    form = mmcv_operators.choice()
    assert 'the "lite" build' in form.reason
    assert 'torchvision is not installed' in form.reason
    assert 'MMCV_WITH_OPS=1' in form.cure
    assert 'or install the torchvision' in form.cure


def test_the_state_of_mmcv_names_the_form(found):
    pytest.importorskip('mmcv')
    found(True)
    assert environment.package_state('mmcv').note == 'with its compiled operators'
    found(False)
    state = environment.package_state('mmcv')
    assert state.usable
    assert state.note.startswith('its operators on torchvision')
    found(False, 'torchvision is not installed')
    assert not environment.package_state('mmcv').usable


def test_torchvision_without_operators(monkeypatch):
    pytest.importorskip('torchvision')
    monkeypatch.setattr('torchvision.extension._has_ops', lambda: False)
    assert 'do not load: it was built for another' in mmcv_operators.torchvision_problem()


def test_the_module_imports_no_torch():
    code = 'import tinyvim_mm.core.mmcv_operators, sys; print("torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'False'


@pytest.fixture
def module():
    need_torchvision()
    from tinyvim_mm import mmcv_ext

    return mmcv_ext.module('mmcv._ext')


def test_every_name_is_there_and_refuses_when_called(module):
    assert hasattr(module, 'nms_rotated')
    with pytest.raises(NotImplementedError) as error:
        module.nms_rotated(torch.zeros(1, 5), iou_threshold=0.1)
    assert "'nms_rotated' of mmcv is not among those that work on torchvision" in str(error.value)
    assert 'cure: pip uninstall -y' in str(error.value)
    assert 'MMCV_WITH_OPS=1' in str(error.value)
    assert not hasattr(module, '__path__')


def test_largest_samples_are_refused(module):
    x = torch.zeros(1, 1, 4, 4)
    sizes = (2, 2, 1.0, 0, 0, True)
    with pytest.raises(NotImplementedError, match="is pool_mode='avg'"):
        module.roi_align_forward(x, torch.zeros(1, 5), x, x, x, *sizes)


def test_it_is_announced_once(module, monkeypatch, caplog):
    from tinyvim_mm import mmcv_ext

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv('RANK', raising=False)
    monkeypatch.setattr(mmcv_ext, '_announced', False)
    with caplog.at_level(logging.WARNING, 'tinyvim_mm'):
        mmcv_ext.module()
        mmcv_ext.module()
    (record,) = caplog.records
    assert 'run on torchvision' in record.getMessage()
    assert f'{VARIABLE}={TORCHVISION} silences this line' in record.getMessage()


@pytest.mark.parametrize(('variable', 'value'), [(VARIABLE, TORCHVISION), ('RANK', '1')])
def test_it_is_not_announced(variable, value, module, monkeypatch, caplog):
    from tinyvim_mm import mmcv_ext

    monkeypatch.setattr(mmcv_ext, '_announced', False)
    monkeypatch.setenv(variable, value)
    mmcv_ext.module()
    assert not caplog.records


def form_in_a_process(wanted):
    code = (
        f'import os; os.environ[{VARIABLE!r}] = {wanted!r}\n'
        'import tinyvim_mm, mmcv.ops, sys; print(type(sys.modules["mmcv._ext"]).__name__)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def test_importing_the_package_puts_it_in_force():
    need_torchvision()
    assert form_in_a_process(TORCHVISION) == '_Operators'


def test_the_compiled_ones_are_preferred():
    need_compiled()
    assert form_in_a_process('auto') == 'module'
