"""Disks that are full while a training writes to them."""

import errno
import io
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip('mmengine')

from mmengine.fileio import LocalBackend
from mmengine.visualization import LocalVisBackend
from small_training import EPOCHS, STEPS, Stop, train
from tool_runs import forget_runs

from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.paths import write_whole
from tinyvim_mm.records.scalars import read_training
from tinyvim_mm.reliability.resume import compare
from tinyvim_mm.training import space, work_dir
from tinyvim_mm.training.space import checkpoint_bytes
from tinyvim_mm.training.work_dir import writing_into

FULL = OSError(errno.ENOSPC, 'No space left on device')
LAST = f'epoch_{EPOCHS}.pth'


@pytest.fixture(autouse=True)
def _forget():
    yield
    forget_runs()


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT])
def test_a_checkpoint_that_finds_no_room_ends_in_one_sentence(code, tmp_path, monkeypatch):
    put, left = LocalBackend.put, [2]

    def half(self, content, path):
        left[0] -= 1
        if left[0] >= 0:
            return put(self, content, path)
        put(self, content[: len(content) // 2], path)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(LocalBackend, 'put', half)
    with pytest.raises(UsageError) as caught:
        train(tmp_path / 'full')
    message = str(caught.value)
    assert message.startswith(f'{tmp_path}/full/epoch_3.pth cannot be saved: {os.strerror(code)} (')
    assert 'MB are free). Make room, then go on with --resume: it starts from epoch_2' in message
    assert '\n' not in message
    assert [path.name for path in (tmp_path / 'full').glob('*.pth')] == ['epoch_2.pth']
    assert not list((tmp_path / 'full').glob('.*'))
    monkeypatch.undo()
    train(tmp_path / 'full')
    train(tmp_path / 'roomy')
    assert compare(tmp_path / 'roomy' / LAST, tmp_path / 'full' / LAST)[1] == []
    steps = [record['step'] for record in read_training(tmp_path / 'full')]
    assert steps == list(range(1, EPOCHS * STEPS + 1))


def test_a_limit_on_files_is_a_full_disk(tmp_path):
    """As the system tells it, without a path."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UsageError, match=r'epoch_1\.pth cannot be saved: File too large'):
            train(tmp_path, [Stop(lambda runner: runner.message_hub.update_info('x', 'x' * 10**6))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob('*.pth')) + list(tmp_path.glob('.*'))


def test_logs_that_find_no_room_are_told_of_once(tmp_path, monkeypatch, capsys):
    opened = open

    class FullFile(io.StringIO):
        def flush(self):
            raise FULL

    def dump(self, values, path, file_format):
        with opened(path, 'a+') as file:
            file.write('{"loss": 1')
        if len(Path(path).read_text().splitlines()) > 2:
            raise FULL
        with opened(path, 'a+') as file:
            file.write(f', "step": {values["step"]}, "lr": 1}}\n')

    monkeypatch.setattr(LocalVisBackend, '_dump', dump)

    def fill(runner):
        runner.logger.handlers[-1].stream = FullFile()

    train(tmp_path, [Stop(fill)])
    printed, errors = capsys.readouterr()
    assert 'Traceback' not in printed + errors
    assert errors.count('cannot be written: [Errno 28] No space left on device') == 1
    assert printed.count('steps will be missing there, and the training goes on') == 1
    assert [record['step'] for record in read_training(tmp_path)] == [1, 2]
    assert (tmp_path / LAST).is_file()


def test_after_an_error_a_file_is_the_old_one(tmp_path, monkeypatch):
    file = tmp_path / 'last_checkpoint'
    write_whole(file, b'old')

    def full(path, content):
        with open(path, 'wb') as stream:
            stream.write(content[:1])
        raise FULL

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match='No space'):
        write_whole(file, b'new')
    assert [path.name for path in tmp_path.iterdir()] == ['last_checkpoint']
    assert file.read_bytes() == b'old'


def test_whatever_else_finds_no_room_names_the_work_dir(tmp_path):
    words = f'work dir {tmp_path} cannot be written: No space left'
    with pytest.raises(UsageError, match=words), writing_into(tmp_path):
        raise FULL


@pytest.mark.parametrize('keep', [1, -1])
def test_free_space_is_looked_at_before_a_training(keep, tmp_path, monkeypatch, capsys):
    runner = train(tmp_path / 'roomy')
    assert 'up to ' not in capsys.readouterr().out
    one = checkpoint_bytes(runner)
    # Weights and their average, and two averages of the gradients, of 36 numbers in 4 bytes.
    assert one == 4 * 36 * 4 + runner_buffers(runner)
    kept = 2 if keep == 1 else EPOCHS
    for free in (one * kept, one * kept - one // 2):
        monkeypatch.setattr(space, 'free_bytes', lambda folder, free=free: free)
        train(tmp_path / f'{free}', max_keep_ckpts=keep)
        printed = capsys.readouterr().out
        assert (f'up to {kept} of them are kept' in printed) == (free < one * kept)
    monkeypatch.setattr(space, 'free_bytes', lambda folder: one // 2)
    with pytest.raises(UsageError, match='a checkpoint of this training takes about'):
        train(tmp_path / 'none', max_keep_ckpts=keep)
    assert not list((tmp_path / 'none').glob('*.pth'))


def test_a_checkpoint_without_the_optimizer_needs_less_room(tmp_path, monkeypatch):
    one = checkpoint_bytes(train(tmp_path / 'roomy', epochs=1), with_optimizer=False)
    monkeypatch.setattr(space, 'free_bytes', lambda folder: one)
    train(tmp_path / 'without', epochs=1, save_optimizer=False)
    assert (tmp_path / 'without' / 'epoch_1.pth').is_file()


def test_a_file_system_that_tells_no_size_is_not_full(tmp_path, monkeypatch):
    usage = SimpleNamespace(total=0, used=0, free=0)
    monkeypatch.setattr(work_dir.shutil, 'disk_usage', lambda folder: usage)
    train(tmp_path / 'new', epochs=1)
    assert (tmp_path / 'new' / 'epoch_1.pth').is_file()
    assert work_dir.reason(FULL, tmp_path) == 'No space left on device'


def runner_buffers(runner):
    """Bytes of what is saved and not trained: twice those of the norm, and counters."""
    ema = next(hook.ema_model for hook in runner.hooks if hasattr(hook, 'ema_model'))
    buffers = [*runner.model.buffers(), *ema.buffers()]
    counters = [entry['step'] for entry in runner.optim_wrapper.optimizer.state.values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in buffers + counters)
