"""The same seed gives the same training; `tools/check_determinism.py` does it with more steps."""

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain.models')

import torch
from tool_runs import forget_runs, run_sample

from tinyvim_mm.commands import train
from tinyvim_mm.core.environment import accelerator
from tinyvim_mm.reliability.determinism import losses
from tinyvim_mm.reliability.small_runs import SMALL_RUNS
from tinyvim_mm.training import training

STEPS = 6


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


SLOW = {'mmseg': pytest.mark.slow}


@pytest.mark.skipif(accelerator() is not None, reason='sums on an accelerator have no fixed order')
@pytest.mark.usefixtures('two_threads')
@pytest.mark.parametrize(
    'toolbox', [pytest.param(name, marks=SLOW.get(name, ())) for name in SMALL_RUNS]
)
def test_two_trainings_are_bit_identical(toolbox, tmp_path, monkeypatch):
    monkeypatch.setattr(training, 'report_training', lambda runner: None)
    small = SMALL_RUNS[toolbox]
    options = [
        *small.settings(STEPS // small.steps),
        'default_hooks.checkpoint.interval=1000',
        'default_hooks.checkpoint.save_last=False',
    ]
    for name in ('first', 'second'):
        run_sample(train.main, small.config, '--work-dir', tmp_path / name, options=options)
    forget_runs()
    first, second = (losses(tmp_path / name) for name in ('first', 'second'))
    assert len(first) == STEPS
    assert len({record['loss'] for record in first}) == STEPS  # it does train
    assert first == second
