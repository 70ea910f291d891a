"""Killed trainings and damaged checkpoints."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

pytest.importorskip('mmengine')

import small_training
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook, Hook
from small_training import EPOCHS, Toy
from tool_runs import forget_runs

from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.reliability.resume import compare, differences
from tinyvim_mm.training.checkpoints import KeepingCheckpointHook, latest_checkpoint
from tinyvim_mm.training.runner import ToolRunner
from tinyvim_mm.weights.files import load_file

# ----------------------------------------------------------------------------
# Which checkpoint is resumed
# ----------------------------------------------------------------------------


@pytest.fixture
def work_dir(tmp_path):
    """Three checkpoints of a training."""
    for epoch in (1, 2, 10):
        torch.save({'weights': torch.randn(100)}, tmp_path / f'epoch_{epoch}.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_10.pth'))
    return tmp_path


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-200])


def change_a_byte(path):
    content = bytearray(path.read_bytes())
    place = content.index(torch.load(path)['weights'].numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)


def found(folder):
    return Path(latest_checkpoint(str(folder))).name


def test_nothing_to_resume(tmp_path):
    assert latest_checkpoint(str(tmp_path)) is None


def test_the_latest_is_resumed(work_dir, capsys):
    assert found(work_dir) == 'epoch_10.pth'
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_1.pth'))
    assert found(work_dir) == 'epoch_1.pth'
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ('damage', 'words'),
    [
        (cut_off, 'is damaged or cut off'),
        (change_a_byte, 'is damaged: wrong checksum of '),
        (lambda path: path.write_bytes(b''), 'is empty'),
        (lambda path: path.write_bytes(b'not a checkpoint'), 'cannot be read'),
        (Path.unlink, 'does not exist'),
    ],
    ids=['cut-off', 'changed', 'empty', 'foreign', 'missing'],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_resumed(
    work_dir, damage, words, capsys
):
    damage(work_dir / 'epoch_10.pth')
    assert found(work_dir) == 'epoch_2.pth'
    output = capsys.readouterr().out
    assert f'{work_dir}/epoch_10.pth {words}' in output
    assert f'resuming from {work_dir}/epoch_2.pth' in output


def test_a_half_written_note_is_no_obstacle(work_dir, capsys):
    (work_dir / 'last_checkpoint').write_text('')
    assert found(work_dir) == 'epoch_10.pth'
    assert 'last_checkpoint is empty' in capsys.readouterr().out
    (work_dir / 'last_checkpoint').write_text(str(work_dir)[:-2])
    assert found(work_dir) == 'epoch_10.pth'


def test_a_work_dir_may_be_moved(work_dir, tmp_path):
    moved = tmp_path / 'moved'
    moved.mkdir()
    for path in work_dir.glob('*.pth'):
        path.rename(moved / path.name)
    (work_dir / 'last_checkpoint').rename(moved / 'last_checkpoint')
    assert found(moved) == 'epoch_10.pth'


def test_without_a_whole_checkpoint_nothing_starts_anew(work_dir):
    for path in work_dir.glob('*.pth'):
        cut_off(path)
    with pytest.raises(UsageError, match=r'no checkpoint in .* is whole') as caught:
        latest_checkpoint(str(work_dir))
    assert all(f'epoch_{n}.pth is damaged' in str(caught.value) for n in (1, 2, 10))


# ----------------------------------------------------------------------------
# A training that is killed
# ----------------------------------------------------------------------------


class KillInEpoch(Hook):
    """Kill the process in the middle of an epoch, counted from 0."""

    def __init__(self, epoch):
        self.epoch = epoch

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.epoch, batch_idx) == (self.epoch, 1):
            os.kill(os.getpid(), signal.SIGKILL)


def kill_while_writing(number):
    """Kill the process when half of its checkpoint of that number (from 1) is written."""
    put, left = LocalBackend.put, [number]

    def half(self, content, path):
        left[0] -= 1
        if left[0]:
            put(self, content, path)
        else:
            put(self, content[: len(content) // 2], path)
            os.kill(os.getpid(), signal.SIGKILL)

    LocalBackend.put = half


def train(work_dir, kill_in_epoch=None, kill_in_checkpoint=None):
    if kill_in_checkpoint is not None:
        kill_while_writing(kill_in_checkpoint)
    small_training.train(work_dir, () if kill_in_epoch is None else [KillInEpoch(kill_in_epoch)])


def in_a_process(work_dir, **kills):
    # A fork has everything imported already.
    process = multiprocessing.get_context('fork').Process(
        target=train, args=(work_dir,), kwargs=kills
    )
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system cannot fork')
def test_a_training_that_was_killed_ends_like_one_that_was_not(tmp_path):
    work_dir, undisturbed = tmp_path / 'killed', tmp_path / 'undisturbed'
    assert in_a_process(work_dir, kill_in_epoch=1) == -signal.SIGKILL
    assert found(work_dir) == 'epoch_1.pth'
    # The one checkpoint that is kept is removed when the next is complete, not before.
    assert in_a_process(work_dir, kill_in_checkpoint=2) == -signal.SIGKILL
    assert (work_dir / '.epoch_3.pth.part').is_file()
    assert [path.name for path in work_dir.glob('*.pth')] == ['epoch_2.pth']
    assert found(work_dir) == 'epoch_2.pth'
    assert in_a_process(work_dir) == 0
    assert in_a_process(undisturbed) == 0
    last = f'epoch_{EPOCHS}.pth'
    tensors, where = compare(undisturbed / last, work_dir / last)
    assert tensors > 30
    assert where == []
    state = load_file(str(work_dir / last))
    assert not torch.equal(
        state['state_dict']['layers.0.weight'],
        state['ema_state_dict']['module.layers.0.weight'],
    )
    assert not list(work_dir.glob('*.part'))
    assert [path.name for path in work_dir.glob('*.pth')] == [last]


@pytest.mark.parametrize('scores', ['a', 'auto', ['a', 'b']])
def test_the_best_checkpoint_is_removed_when_a_better_one_is_saved(scores, tmp_path):
    """Scores of three epochs, the second of which is no better in ``a``."""
    forget_runs()
    saved = []

    class Runner(ToolRunner):
        epoch = 0

        def save_checkpoint(self, out_dir, filename, *args, **kwargs):
            if self.fails:
                raise OSError('no space left')
            # What is there while a new one is being written.
            saved.append((filename, sorted(path.name for path in tmp_path.glob('best*'))))
            (tmp_path / filename).touch()

    runner = Runner(Toy(), str(tmp_path))
    runner.fails = False
    hook = KeepingCheckpointHook(save_best=scores, rule='greater', out_dir=str(tmp_path))
    hook.out_dir, hook.file_backend = str(tmp_path), LocalBackend()
    hook.filename_tmpl, hook.last_ckpt = 'epoch_{}.pth', None
    keys = [scores] if isinstance(scores, str) else scores
    hook._set_best(dict.fromkeys(keys))
    for runner.epoch, a, b in ((1, 0.5, 0.5), (2, 0.4, 0.6), (3, 0.6, 0.1)):
        hook._save_best_checkpoint(runner, dict(a=a, b=b))
    assert ('best_a_epoch_3.pth', sorted({'best_a_epoch_1.pth'} | _best_of_b(keys))) == saved[-1]
    kept = {'best_a_epoch_3.pth'} | _best_of_b(keys)
    assert {path.name for path in tmp_path.glob('best*')} == kept
    runner.fails = True
    runner.epoch = 4
    with pytest.raises(OSError, match='no space left'):
        hook._save_best_checkpoint(runner, dict(a=0.9, b=0.9))
    assert {path.name for path in tmp_path.glob('best*')} == kept
    forget_runs()


def _best_of_b(keys):
    return {'best_b_epoch_2.pth'} if 'b' in keys else set()


def test_differences_are_found():
    one = {'a': [torch.zeros(2), 1.0], 'b': torch.ones(1)}
    assert list(differences(one, {'a': [torch.zeros(2), 1.0], 'b': torch.ones(1)})) == []
    other = {'a': [torch.tensor([0.0, 1e-30]), 1.5], 'c': None}
    assert list(differences(one, other)) == ['.a.0', '.a.1', '.b', '.c']


@pytest.mark.parametrize('keep', [1, 2, 5, -1])
def test_the_number_of_checkpoints_kept_is_mmengines(keep, tmp_path):
    from collections import deque
    from types import SimpleNamespace

    class Runner(SimpleNamespace):
        def save_checkpoint(self, out_dir, name, *_, **__):
            assert before == {path.name for path in tmp_path.glob('*.pth')}
            (Path(out_dir) / name).touch()

    hook = KeepingCheckpointHook(max_keep_ckpts=keep, out_dir=str(tmp_path))
    hook.file_backend, hook.filename_tmpl = LocalBackend(), 'epoch_{}.pth'
    hook.keep_ckpt_ids = deque(maxlen=max(keep, 0))
    hub = SimpleNamespace(update_info=lambda *_: None)
    runner = Runner(message_hub=hub, work_dir=str(tmp_path))
    before = set()
    for step in range(1, 8):
        hook._save_checkpoint_with_step(runner, step, {})
        before = {path.name for path in tmp_path.glob('*.pth')}
    first = 8 - keep if keep > 0 else 1
    assert before == {f'epoch_{step}.pth' for step in range(first, 8)}


@pytest.mark.parametrize('kind', ['CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook])
def test_each_way_to_name_the_hook(kind, tmp_path):
    runner = small_training.train(tmp_path, epochs=1, type=kind)
    assert any(isinstance(hook, KeepingCheckpointHook) for hook in runner.hooks)
