"""Trainings of two processes, connected by gloo on a CPU, against one process."""

import os
import socket
import subprocess
import sys
from pathlib import Path

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
from tinyvim_mm.training import distributed, strategies
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


def train_in_two_processes(folder, name, *options):
    """Call tools/dist_train.sh, and return the log and the last checkpoint."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'PYTHONPATH': str(PROJECT_ROOT),
        'PORT': str(port),
        'OMP_NUM_THREADS': '1',
    }
    script = str(PROJECT_ROOT / 'tools' / 'dist_train.sh')
    done = subprocess.run(
        ['bash', script, 'tiny.py', '2', '--work-dir', name, *options],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
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
