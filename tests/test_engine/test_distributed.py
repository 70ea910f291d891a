"""Trainings of two processes, connected by gloo on a CPU, against one process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip('mmseg')

import torch
from mmengine.config import Config
from tool_runs import forget_runs

from tinyvim_mm.commands import train as train_tool
from tinyvim_mm.core import environment
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.paths import CONFIG_ROOT, PROJECT_ROOT, SAMPLE_ADE
from tinyvim_mm.records.run_record import read_record
from tinyvim_mm.reliability.resume import differences
from tinyvim_mm.training import distributed, launching, strategies
from tinyvim_mm.training.distributed import naming_lost_processes as naming
from tinyvim_mm.training.work_dir import writing_into
from tinyvim_mm.weights.files import load_file

#: A recipe without what draws random numbers or depends on the batch, and an optimizer
#: that keeps the first gradient.
CONFIG = f"""
_base_ = {str(CONFIG_ROOT / 'mmseg' / 'fpn_tinyvim_s_40k_ade20k.py')!r}
model = dict(
    data_preprocessor=dict(size=(64, 96)),
    backbone=dict(init_cfg=None, norm_eval=True, drop_path_rate=0.0),
    decode_head=dict(norm_cfg=None, dropout_ratio=0.0),
)
train_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_root={str(SAMPLE_ADE)!r},
        indices=2,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', reduce_zero_label=True),
            dict(type='Resize', scale=(96, 64), keep_ratio=False),
            dict(type='PackSegInputs'),
        ],
    ),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=1.0, momentum=0.9, weight_decay=0.0)
)
param_scheduler = []
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1)
val_cfg = val_dataloader = val_evaluator = None
randomness = dict(seed=0)
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1))
log_processor = dict(by_epoch=True)
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('distributed')
    (folder / 'tiny.py').write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        # Both images in one batch.
        forget_runs()
        options = ['--cfg-options', 'train_dataloader.batch_size=2']
        train_tool.main(['tiny.py', '--work-dir', 'one', *options])
        yield folder
    forget_runs()


def call_in_two_processes(folder, name, config, *options):
    """Call tools/dist_train.sh."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'PYTHONPATH': f'{PROJECT_ROOT}:{PROJECT_ROOT / "tests"}',
        'PORT': str(port),
        'OMP_NUM_THREADS': '1',
    }
    script = str(PROJECT_ROOT / 'tools' / 'dist_train.sh')
    return subprocess.run(
        ['bash', script, config, '2', '--work-dir', name, *options],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def train_in_two_processes(folder, name, *options):
    """Call tools/dist_train.sh, and return the log and the last checkpoint."""
    done = call_in_two_processes(folder, name, 'tiny.py', *options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr, load_file((folder / name / 'last_checkpoint').read_text())


@pytest.fixture(scope='module')
def copied(folder):
    """Log and checkpoint of two processes with one image each."""
    return train_in_two_processes(folder, 'two')


on_a_cpu = pytest.mark.skipif(
    environment.accelerator() is not None, reason='two processes would need two accelerators'
)


@on_a_cpu
@pytest.mark.slow
def test_two_processes_find_the_gradient_of_one_with_both_images(folder, copied):
    words, together = copied
    alone = load_file(str(folder / 'one' / 'epoch_1.pth'))
    first, second = (checkpoint['optimizer']['state'] for checkpoint in (alone, together))
    assert len(first) == len(second) > 400
    for index, state in first.items():
        expected, got = state['momentum_buffer'], second[index]['momentum_buffer']
        # Sums of rounded numbers, in another order.
        assert (expected - got).norm() <= 1e-5 * expected.norm() + 1e-9, index
    assert "sync_bn='torch' needs an accelerator" in words


@on_a_cpu
def test_two_processes_leave_one_record(folder, copied):
    (record,) = (read_record(file.parent) for file in (folder / 'two').glob('*/run.json'))
    assert (record.state, record.done) == ('finished', 1)
    assert (record.devices, record.device_names) == (2, ['CPU', 'CPU'])


@on_a_cpu
@pytest.mark.slow
def test_sharding_changes_neither_steps_nor_checkpoints(folder):
    words, sharded = train_in_two_processes(folder, 'sharded', '--strategy', 'fsdp')
    assert 'scan backend: ' in words
    # Sharded parameters are not channels-last, which would round in another order.
    _, plain = train_in_two_processes(folder, 'plain', '--no-channels-last')
    for key, value in plain['state_dict'].items():
        torch.testing.assert_close(sharded['state_dict'][key], value, msg=key)
    longer = ['--strategy', 'fsdp', '--resume', '--cfg-options', 'train_cfg.max_epochs=2']
    words, resumed = train_in_two_processes(folder, 'sharded', *longer)
    assert 'Epoch(train) [2]' in words
    assert 'Epoch(train) [1]' not in words
    assert resumed['meta']['epoch'] == 2
    files = sorted((folder / 'sharded').glob('*/run.json'))
    first, second = (read_record(file.parent) for file in files)
    assert first.state == second.state == 'finished'
    assert (first.devices, first.done, first.checkpoints) == (2, 1, ['epoch_1.pth'])
    assert (second.done, second.checkpoints) == (2, ['epoch_2.pth'])
    assert second.resumed_from.endswith('epoch_1.pth')


# -- processes that end ---------------------------------------------------------------

#: Three steps an epoch; a hook sends a signal in the fifth.
SIGNALLED = """
_base_ = 'tiny.py'
train_dataloader = dict(dataset=dict(indices=6))
train_cfg = dict(max_epochs=3)
optim_wrapper = dict(optimizer=dict(lr=0.001))
custom_imports = dict(imports=['signal_hook'])
custom_hooks = [
    dict(
        type='SignalHook',
        step=5,
        rank={rank},
        number={number},
        parent={parent},
        saving_s={saving_s},
    )
]
"""


def signalled(folder, rank, number, parent, saving_s=0):
    (folder / 'signalled.py').write_text(
        SIGNALLED.format(rank=rank, number=int(number), parent=parent, saving_s=saving_s)
    )
    return 'signalled.py'


@on_a_cpu
@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others(folder):
    config = signalled(folder, rank=1, number=signal.SIGKILL, parent=False)
    done = call_in_two_processes(folder, 'killed', config)
    assert done.returncode == 128 + signal.SIGKILL
    assert 'process 1 was ended by SIGKILL' in done.stderr
    assert 'Traceback' not in done.stderr
    (record,) = (read_record(file.parent) for file in (folder / 'killed').glob('*/run.json'))
    assert record.checkpoints == ['epoch_1.pth']
    assert record.state in ('stopped', 'running')


@on_a_cpu
@pytest.mark.slow
def test_a_work_dir_in_use_is_told_by_the_process_that_found_it(folder):
    with writing_into(folder / 'used', lock=True):
        done = call_in_two_processes(folder, 'used', 'tiny.py')
    assert done.returncode == 2, done.stderr[-2000:]
    assert 'is in use' in done.stderr
    assert 'cannot be built' not in done.stderr
    assert 'Traceback' not in done.stderr


@on_a_cpu
@pytest.mark.slow
@pytest.mark.parametrize(
    ('rank', 'parent', 'saving_s'),
    [(1, True, 0), (1, False, 0), (0, False, 10)],
    ids=['launcher', 'process', 'process that saves slowly'],
)
def test_an_interrupted_training_of_two_processes_goes_on(rank, parent, saving_s, folder):
    """Whether torchrun gets the signal and hands it on, or one of the processes alone."""
    config = signalled(folder, rank, signal.SIGTERM, parent, saving_s)
    name = f'interrupted_{rank}_{parent}'
    done = call_in_two_processes(folder, name, config)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr[-2000:]
    assert 'Traceback' not in done.stderr
    assert 'death signal' not in done.stderr
    *_, stopped, how = done.stderr.splitlines()
    where = 'epoch 2, step 2 of 3; saved '
    assert stopped.startswith(f'tools/train.py: stopped after {where}'), done.stderr[-900:]
    assert how == 'go on with: the same command and --resume'
    plain = ['--cfg-options', 'custom_hooks=[]']
    resumed = call_in_two_processes(folder, name, config, '--resume', *plain)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    if not (folder / 'uninterrupted').is_dir():
        assert call_in_two_processes(folder, 'uninterrupted', config, *plain).returncode == 0
    whole, parts = (
        load_file(str(folder / each / 'epoch_3.pth')) for each in ('uninterrupted', name)
    )
    for part in ('state_dict', 'optimizer'):
        assert list(differences(whole[part], parts[part])) == []


def failure(code, timestamp=0):
    return SimpleNamespace(exitcode=code, timestamp=timestamp)


@pytest.mark.parametrize(
    ('codes', 'first'),
    [
        ({0: 1, 1: -9}, 1),
        ({0: 1, 1: 2}, 1),
        ({0: -15, 1: 2}, 1),
        ({0: 2, 1: -6}, 1),
        ({0: 1, 1: 1}, 0),
    ],
)
def test_which_process_failed_first(codes, first):
    failures = {rank: failure(code, rank) for rank, code in codes.items()}
    assert launching.first_failure(failures) == (first, codes[first])


def test_only_lost_processes_are_called_so(monkeypatch):
    with pytest.raises(RuntimeError, match=r'^Connection closed'), naming():  # one process
        raise RuntimeError('Connection closed by peer')
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(torch.distributed, 'get_rank', lambda: 1)
    for error in (RuntimeError('[x] Connection closed by peer [y]'), torch.distributed.DistError()):
        lost = pytest.raises(distributed.LostProcessError, match='process 1 ends')
        with lost as caught, naming():
            raise error
        assert caught.value.exit_code == 1
    with pytest.raises(RuntimeError, match=r'^shapes'), naming():
        raise RuntimeError('shapes differ')


# -- what cannot work is said before the training -----------------------------------


def config(**changes):
    sampler = dict(type='DefaultSampler', shuffle=False)
    cfg = dict(
        launcher='pytorch',
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW')),
        val_dataloader=dict(sampler=dict(sampler)),
        test_dataloader=dict(sampler=dict(sampler)),
    )
    return Config({**cfg, **changes})


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(launcher='none'), 'over the processes of a launcher: use tools/dist_train.sh'),
        (
            dict(optim_wrapper=dict(clip_grad=dict(max_norm=1))),
            'needs whole gradients, .*: --cfg-options optim_wrapper.clip_grad=None',
        ),
        (dict(custom_hooks=[dict(type='EMAHook')]), '--cfg-options "custom_hooks=\\[\\]"'),
    ],
    ids=['launcher', 'clipping', 'average'],
)
def test_what_sharding_cannot_do(changes, words):
    with pytest.raises(UsageError, match=f'--strategy fsdp: .*{words}'):
        strategies.apply_strategy(config(**changes), 'fsdp')


def test_deepspeed_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(strategies, 'find_spec', lambda name: None)
    monkeypatch.setattr(environment, 'accelerator', lambda: 'cuda')
    with pytest.raises(
        UsageError, match=rf'not installed: pip install deepspeed\n.*{environment.DOCTOR}'
    ):
        strategies.apply_strategy(config(), 'deepspeed')


def test_deepspeed_does_not_clip_adaptively(monkeypatch):
    monkeypatch.setattr(strategies, 'find_spec', lambda name: object())
    monkeypatch.setattr(environment, 'accelerator', lambda: 'cuda')
    wrapper = dict(type='OptimWrapper', clip_grad=dict(type='agc', clip_factor=0.02))
    with pytest.raises(UsageError, match='clipping needs whole gradients'):
        strategies.apply_strategy(config(optim_wrapper=wrapper), 'deepspeed')


def test_deepspeed_clips_and_rounds_by_itself(monkeypatch):
    monkeypatch.setattr(strategies, 'find_spec', lambda name: object())
    monkeypatch.setattr(environment, 'accelerator', lambda: 'cuda')
    wrapper = dict(
        type='AmpOptimWrapper',
        loss_scale='dynamic',
        optimizer=dict(type='AdamW'),
        clip_grad=dict(max_norm=35, norm_type=2),
    )
    cfg = config(optim_wrapper=wrapper)
    strategies.apply_strategy(cfg, 'deepspeed')
    assert cfg.optim_wrapper == dict(type='DeepSpeedOptimWrapper', optimizer=dict(type='AdamW'))
    assert cfg.strategy.gradient_clipping == 35
    assert cfg.strategy.bf16.enabled


def test_every_process_evaluates_as_many_batches():
    cfg = config()
    strategies.apply_strategy(cfg, 'fsdp')
    assert cfg.val_dataloader.sampler.round_up
    assert cfg.test_dataloader.sampler.round_up


@pytest.mark.parametrize(
    ('launcher', 'words'),
    [
        ('slurm', '--launcher slurm needs an accelerator'),
        ('pytorch', 'for processes that torchrun starts(.|\\n)*tools/dist_train.sh'),
    ],
)
def test_launchers_that_cannot_start(launcher, words, monkeypatch):
    monkeypatch.setattr(environment, 'accelerator', lambda: None)
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    with pytest.raises(UsageError, match=words):
        distributed.prepare_launcher(Config({}), launcher)
