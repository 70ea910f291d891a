"""``run.json``, as the hook writes it during a training."""

import dataclasses
import errno
import json
import re
from datetime import datetime

import pytest

pytest.importorskip('mmengine')

import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from tool_runs import forget_runs
from torch import nn
from torch.utils.data import DataLoader

import tinyvim_mm
from tinyvim_mm.core.environment import accelerator
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.models.layers import SS2D
from tinyvim_mm.records.run_record import FILE, RunRecord, read_record
from tinyvim_mm.training import record as module
from tinyvim_mm.training.checkpoints import latest_checkpoint
from tinyvim_mm.training.record import RunRecordHook
from tinyvim_mm.training.runner import ToolRunner

STEPS = 3  # of an epoch


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.scan = SS2D(4)

    def forward(self, x, mode='tensor'):
        loss = self.layer(x).square().mean()
        return {'loss': loss} if mode == 'loss' else [loss]


class Score(BaseMetric):
    def __init__(self, values):
        super().__init__()
        self.values = list(values)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {'mIoU': torch.tensor(self.values.pop(0)), 'words': 'none'}


class StopHook(Hook):
    """Raise before the step of that number, counted from 0."""

    def __init__(self, step, error):
        self.step = step
        self.error = error

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            raise self.error


def train(folder, length=2, by_epoch=True, hooks=(), scores=(), best=None):
    """Train a toy in a work dir, from its latest checkpoint if it has one."""
    forget_runs()
    data = [dict(x=row) for row in torch.linspace(-1, 1, 36).reshape(12, 3)]
    start = latest_checkpoint(str(folder))
    cfg = dict(
        train_dataloader=dict(batch_size=4),
        train_cfg={'by_epoch': by_epoch, 'max_epochs' if by_epoch else 'max_iters': length},
        load_from=start,
        resume=start is not None,
    )
    val = dict(
        val_dataloader=DataLoader(data, batch_size=4),
        val_cfg=dict(),
        val_evaluator=Evaluator(Score(scores)),
    )
    checkpoint = dict(type='CheckpointHook', interval=1 if by_epoch else 2, by_epoch=by_epoch)
    runner = ToolRunner(
        Toy(),
        str(folder),
        train_dataloader=DataLoader(data, batch_size=4, sampler=DefaultSampler(data, seed=0)),
        train_cfg=cfg['train_cfg'],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(checkpoint={**checkpoint, 'max_keep_ckpts': 1, 'save_best': best}),
        load_from=start,
        resume=start is not None,
        cfg=Config(cfg, 'default_scope = None', str(folder / 'toy.py')),
        **(val if scores else {}),
    )
    record = RunRecordHook('configs/toy.py', True, {'optim_wrapper.optimizer.lr': 0.01})
    for hook in (record, *hooks):
        runner.register_hook(hook)
    with record.keeping(runner):
        runner.train()


def records(folder):
    return [read_record(file.parent) for file in sorted(folder.glob(f'*/{FILE}'))]


@pytest.fixture
def next_second(monkeypatch):
    """Let runs that start in the same second get folders of their own."""
    times = iter(range(1_800_000_000, 1_900_000_000, 60))
    monkeypatch.setattr('mmengine.runner.runner.time.time', lambda: float(next(times)))


def test_a_finished_run(tmp_path):
    before = datetime.now().astimezone().replace(microsecond=0)
    train(tmp_path, scores=[0.5, float('nan')], best='mIoU')
    (record,) = records(tmp_path)
    assert (record.state, record.error, record.resumed_from) == ('finished', '', None)
    assert (record.config, record.config_path, record.sample) == ('toy', 'configs/toy.py', True)
    assert record.options == {'optim_wrapper.optimizer.lr': 0.01}
    started, ended = (datetime.fromisoformat(at) for at in (record.started, record.ended))
    assert before <= started <= ended
    assert started.tzinfo is not None
    assert 0 < record.seconds < 60
    assert record.devices == len(record.device_names) == 1
    assert (record.device_names == ['CPU']) == (accelerator() is None)
    assert record.versions['tinyvim_mm'] == tinyvim_mm.__version__
    assert record.versions['torch'].startswith(torch.__version__.partition('+')[0])
    assert len(record.scan_backends) == 1
    assert (record.batch_size, record.steps_per_epoch) == (4, STEPS)
    assert (record.done, record.length, record.unit, record.steps) == (2, 2, 'epochs', 2 * STEPS)
    assert record.checkpoints == ['epoch_1.pth', 'best_mIoU_epoch_1.pth', 'epoch_2.pth']
    assert record.validations == [{'mIoU': 0.5, 'step': 1}, {'mIoU': None, 'step': 2}]
    assert not list(tmp_path.rglob('*.part'))


def test_a_training_that_counts_iterations(tmp_path):
    train(tmp_path, length=4, by_epoch=False)
    (record,) = records(tmp_path)
    assert (record.done, record.length, record.unit, record.steps) == (4, 4, 'iterations', 4)
    assert record.steps_per_epoch is None
    assert record.checkpoints == ['iter_2.pth', 'iter_4.pth']


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (RuntimeError('no memory\nat all'), 'RuntimeError: no memory\nat all'),
        (KeyboardInterrupt(), 'KeyboardInterrupt'),
    ],
)
def test_an_error_stops_a_run_and_is_raised(error, words, tmp_path):
    with pytest.raises(type(error)):
        train(tmp_path, hooks=[StopHook(4, error)])
    (record,) = records(tmp_path)
    assert (record.state, record.error) == ('stopped', words)
    assert record.ended is not None
    assert (record.done, record.steps, record.checkpoints) == (1, 4, ['epoch_1.pth'])


def test_a_checkpoint_that_could_not_be_saved_is_not_listed(tmp_path, monkeypatch):
    put = LocalBackend.put

    def full(self, content, path):
        if 'epoch_2' in str(path):
            raise OSError(errno.ENOSPC, 'No space left on device')
        put(self, content, path)

    monkeypatch.setattr(LocalBackend, 'put', full)
    with pytest.raises(UsageError, match=r'epoch_2\.pth cannot be saved'):
        train(tmp_path)
    (record,) = records(tmp_path)
    assert (record.state, record.checkpoints) == ('stopped', ['epoch_1.pth'])


def test_a_resumed_run_has_a_record_of_its_own(tmp_path, next_second):
    with pytest.raises(RuntimeError):
        train(tmp_path, hooks=[StopHook(4, RuntimeError())])
    train(tmp_path)
    first, second = records(tmp_path)
    assert (first.state, second.state) == ('stopped', 'finished')
    assert second.resumed_from == str(tmp_path / 'epoch_1.pth')
    assert second.checkpoints == ['epoch_2.pth']
    assert (second.done, second.steps) == (2, 2 * STEPS)


def test_a_run_that_is_killed_was_recorded_before(tmp_path, monkeypatch):
    seen = []

    class LookHook(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(records(tmp_path)[0])

    monkeypatch.setattr(module, 'SECONDS_BETWEEN', 0)
    train(tmp_path, hooks=[LookHook()])
    assert {(record.state, record.ended) for record in seen} == {('running', None)}
    assert [(record.done, record.steps) for record in seen] == [
        *((0, 1), (0, 2), (0, 3)),
        *((1, 4), (1, 5), (1, 6)),
    ]


def test_a_record_that_cannot_be_written_ends_no_training(tmp_path, monkeypatch):
    def full(record, folder):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(RunRecord, 'write', full)
    train(tmp_path)
    (log,) = tmp_path.glob('*/*.log')
    assert 'cannot be written: [Errno 28] No space left on device' in log.read_text()
    assert (tmp_path / 'epoch_2.pth').is_file()


def test_the_page_shows_every_field(tmp_path):
    page = (PROJECT_ROOT / 'docs' / 'run-record.md').read_text()
    example = json.loads(page.partition('```json')[2].partition('```')[0])
    names = [field.name for field in dataclasses.fields(RunRecord)]
    assert list(example) == names
    assert re.findall(r'^\| `(\w+)` \|', page, re.MULTILINE) == names
    (tmp_path / FILE).write_text(json.dumps(example))
    assert read_record(tmp_path) == RunRecord(**example)
