"""Trainings whose losses become NaN or infinite."""

import pytest

pytest.importorskip('mmengine')

import torch
from mmengine.runner import Runner
from tool_runs import forget_runs
from toy_training import EPOCHS, STEPS, Toy, make_runner

from tinyvim_mm.core.errors import PARTLY_FAILED, PartlyFailedError
from tinyvim_mm.training.not_finite import NotFiniteHook, not_finite_since, refuse_not_finite_end
from tinyvim_mm.training.record import RunRecordHook


class Failing(Toy):
    """Its loss is not finite in some steps, counted from 1."""

    def __init__(self, *steps, value=float('nan')):
        super().__init__()
        self.steps, self.value, self.step = steps, value, 0

    def forward(self, x, mode='tensor'):
        if mode == 'predict':
            return super().forward(x, mode)
        self.step += 1
        loss = super().forward(x, mode)['loss']
        other = loss.detach() * 0 + (self.value if self.step in self.steps else 1.0)
        return {'loss_of_layers': loss, 'loss_other': other}


def trained(work_dir, model) -> Runner:
    runner = make_runner(work_dir, model=model)
    runner.register_hook(NotFiniteHook())
    runner.train()
    forget_runs()
    return runner


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_the_end_names_the_first_step_of_it(value, tmp_path):
    steps = range(EPOCHS * STEPS - 3, EPOCHS * STEPS + 1)
    runner = trained(tmp_path, Failing(2, *steps, value=value))
    words = f'not finite since iteration {steps[0]} of {EPOCHS * STEPS}: .*--detect-anomaly'
    with pytest.raises(PartlyFailedError, match=words) as caught:
        refuse_not_finite_end(runner)
    assert caught.value.exit_code == PARTLY_FAILED
    record = RunRecordHook('c')
    record._write(runner)
    assert record.record.losses_not_finite_since == steps[0]


def test_losses_that_recover_are_no_error(tmp_path):
    runner = trained(tmp_path, Failing(2, 3))
    assert not_finite_since(runner) is None
    refuse_not_finite_end(runner)
    (log,) = tmp_path.glob('*/*.log')
    words = log.read_text()
    assert 'iteration 2: not finite: ' in words
    assert 'loss_other = nan' in words
    assert 'iteration 4: the losses are finite again' in words


def test_no_tensor_is_fetched_for_it(tmp_path, monkeypatch):
    """Of a GPU it would have to wait for each."""
    runner = make_runner(tmp_path)
    hook = NotFiniteHook()
    runner.message_hub.update_scalar('train/loss', float('inf'))
    monkeypatch.setattr(torch.Tensor, 'item', None)
    monkeypatch.setattr(torch.Tensor, '__float__', None)
    runner._train_loop = type('Loop', (), dict(iter=4))()
    monkeypatch.setattr(type(runner), 'iter', 4)
    hook.after_train_iter(runner, 4, None, dict(loss=torch.ones(())))
    assert not_finite_since(runner) == 5
    forget_runs()
