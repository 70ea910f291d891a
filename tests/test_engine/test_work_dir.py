"""The folder of a training: locked, its own for each run, and named when it cannot be written."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmengine')

from small_training import Stop, train
from tool_runs import forget_runs

from tinyvim_mm.core import processes
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.training import lock as module
from tinyvim_mm.training.checkpoints import latest_checkpoint
from tinyvim_mm.training.lock import DEAD, FILE, WorkDirLock
from tinyvim_mm.training.runner import ToolRunner
from tinyvim_mm.training.work_dir import WorkDirHook, claim_log_folder, writing_into

FORK = multiprocessing.get_context('fork') if hasattr(os, 'fork') else None
needs_fork = pytest.mark.skipif(FORK is None, reason='this system cannot fork')


# ----------------------------------------------------------------------------
# The lock
# ----------------------------------------------------------------------------


def hold(folder, ready):
    with writing_into(folder, lock=True):
        ready.send('held')
        signal.pause()


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of the folder."""
    told, ready = FORK.Pipe()
    process = FORK.Process(target=hold, args=(tmp_path, ready))
    process.start()
    assert told.recv() == 'held'
    yield process
    process.kill()
    process.join()


@pytest.fixture(params=['locks', 'no locks'])
def file_system(request, monkeypatch):
    """One with and one without locks of the operating system."""
    if request.param == 'no locks':

        class NoLocks:
            LOCK_EX = LOCK_NB = 0

            @staticmethod
            def flock(*_):
                raise OSError(errno.ENOLCK, 'No locks available')

        monkeypatch.setattr(module, 'fcntl', NoLocks)
    return request.param


def taken(folder):
    """What a second training hears; empty if it may train."""
    try:
        with writing_into(folder, lock=True):
            return ''
    except UsageError as error:
        return str(error)


def leave_lock(folder, age=0.0, **words):
    """The lock of a process that did not remove it."""
    file = folder / FILE
    holder = dict(processes.describe_process(), flock=False, **words)
    file.write_text(json.dumps(holder))
    now = file.stat().st_mtime
    os.utime(file, (now - age, now - age))
    return holder


@needs_fork
def test_a_second_training_is_refused_and_hears_of_the_first(file_system, other, tmp_path):
    holder = json.loads((tmp_path / FILE).read_text())
    message = taken(tmp_path)
    assert holder['pid'] == other.pid
    for word in (f'process {other.pid} on {holder["host"]}', holder['started'], tmp_path.name):
        assert word in message
    assert f'kill {other.pid}' in message
    assert '--work-dir' in message
    assert (tmp_path / FILE).is_file()


@needs_fork
def test_the_lock_of_a_killed_training_is_taken_over(file_system, other, tmp_path, capsys):
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert (tmp_path / FILE).is_file()
    (tmp_path / '.epoch_3.pth.part').touch()
    assert taken(tmp_path) == ''
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f'process {other.pid} on ')
    assert list(tmp_path.iterdir()) == []


@needs_fork
def test_workers_do_not_hold_the_lock(tmp_path):
    with writing_into(tmp_path, lock=True):
        told, ready = FORK.Pipe()
        worker = FORK.Process(target=lambda: (ready.send('here'), signal.pause()))
        worker.start()
        assert told.recv() == 'here'
    # As after a SIGKILL, which workers outlive.
    assert taken(tmp_path) == ''
    worker.kill()
    worker.join()


def test_the_same_process_cannot_train_twice_at_once(file_system, tmp_path):
    with writing_into(tmp_path, lock=True):
        assert f'process {os.getpid()} on ' in taken(tmp_path)
    assert taken(tmp_path) == ''


@pytest.mark.parametrize('words', [dict(boot='another'), dict(namespace=-1)])
def test_another_machine_counts_as_alive_while_it_gives_signs(file_system, words, tmp_path):
    leave_lock(tmp_path, DEAD - 60, host='elsewhere', **words)
    message = taken(tmp_path)
    assert 'on elsewhere, since' in message
    assert f'remove {tmp_path / FILE}' in message
    leave_lock(tmp_path, DEAD + 60, host='elsewhere', **words)
    assert taken(tmp_path) == ''


def test_a_sign_of_life_from_the_future_is_none(tmp_path):
    leave_lock(tmp_path, -DEAD - 60, boot='another')
    assert taken(tmp_path) == ''


@pytest.mark.parametrize('text', ['', '{"pid"', '[]', '\x00' * 100])
def test_a_lock_without_words_is_none(file_system, text, tmp_path):
    (tmp_path / FILE).write_text(text)
    assert taken(tmp_path) == ''


def test_a_process_number_that_is_used_again_is_another_process(tmp_path):
    leave_lock(tmp_path, ticks=1)
    assert taken(tmp_path) == ''
    leave_lock(tmp_path)
    assert f'process {os.getpid()}' in taken(tmp_path)


def test_signs_of_life_are_given(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'BEAT', 0.001)
    lock = WorkDirLock(tmp_path)
    lock.acquire()
    os.utime(lock.file, (0, 0))
    while lock.file.stat().st_mtime == 0:  # for ever, without a beat
        pass
    lock.release()
    assert not lock.file.exists()


def test_who_was_taken_over_stops(tmp_path):
    first = WorkDirLock(tmp_path)
    first.acquire()
    leave_lock(tmp_path, pid=77, boot='another')
    with pytest.raises(UsageError, match=r'process 77 on .* has taken it over, so this training'):
        first.check()
    first.release()
    assert (tmp_path / FILE).is_file()


def test_a_lock_file_that_was_removed_is_made_again(tmp_path):
    lock = WorkDirLock(tmp_path)
    lock.acquire()
    lock.file.unlink()
    lock.check()
    assert lock.file.is_file()
    assert 'is in use' in taken(tmp_path)
    lock.release()


def test_a_training_holds_the_lock_and_an_evaluation_does_not(tmp_path, monkeypatch):
    pytest.importorskip('mmpretrain')
    from tinyvim_mm import training

    seen = []

    def look(cfg):
        seen.append((Path(cfg.work_dir) / FILE).is_file())
        raise UsageError('seen')

    monkeypatch.setattr(ToolRunner, 'from_cfg', look)
    folder = tmp_path / 'runs'
    checkpoint = tmp_path / 'a.pth'
    checkpoint.touch()
    for call in (
        lambda: training.train('tinyvim_s_300e_in1k', folder, sample=True),
        lambda: training.evaluate('tinyvim_s_300e_in1k', checkpoint, folder, sample=True),
    ):
        with pytest.raises(UsageError, match='seen'):
            call()
        assert not folder.exists()
    assert seen == [True, False]


def test_a_disk_that_fills_up_while_a_training_is_built(tmp_path, monkeypatch):
    pytest.importorskip('mmpretrain')
    from tinyvim_mm import training

    def write(cfg):
        raise OSError(errno.ENOSPC, 'No space left on device', str(tmp_path / 'runs' / 'a.log'))

    monkeypatch.setattr(ToolRunner, 'from_cfg', write)
    with pytest.raises(UsageError, match='Make room'):
        training.train('tinyvim_s_300e_in1k', tmp_path / 'runs', sample=True)


# ----------------------------------------------------------------------------
# Folders of the logs
# ----------------------------------------------------------------------------


def test_runs_of_one_second_have_logs_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.runner.runner.time.time', lambda: 1_800_000_000.0)
    folders = []
    for _ in range(3):
        forget_runs()
        folders.append(Path(train(tmp_path).log_dir))
    assert folders == sorted(set(folders))
    assert all(list(folder.glob('*.log')) for folder in folders)
    forget_runs()


def test_names_of_log_folders_follow_each_other_when_the_clock_does_not(tmp_path):
    assert claim_log_folder(tmp_path, '20260102_030000') == '20260102_030000'
    assert claim_log_folder(tmp_path, '20260102_030000') == '20260102_030001'
    (tmp_path / '20261025_025959').mkdir()
    (tmp_path / '99999999_999999').mkdir()
    assert claim_log_folder(tmp_path, '20261025_020000') == '20261025_030000'


# ----------------------------------------------------------------------------
# Disks and folders that cannot be written
# ----------------------------------------------------------------------------


def test_a_work_dir_that_is_a_file(tmp_path):
    file = tmp_path / 'file'
    file.touch()
    assert taken(file) == f'work dir {file} is a file, no folder'
    assert f'work dir {file}/in/it cannot be written: Not a directory' in taken(file / 'in' / 'it')


@pytest.mark.parametrize('code', [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize('call', ['mkdir', 'open'])
def test_a_work_dir_that_cannot_be_written(code, call, tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise OSError(code, os.strerror(code), str(path))

    folder = tmp_path / 'runs'
    if call == 'open':
        folder.mkdir()
    monkeypatch.setattr(f'os.{call}', refuse)
    message = taken(folder)
    monkeypatch.undo()
    assert message.startswith(f'work dir {folder} cannot be written: {os.strerror(code)}')
    assert '--work-dir' in message


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), writing_into(tmp_path):
        Path('/nonexistent/file').read_bytes()
    with pytest.raises(FileNotFoundError), writing_into(tmp_path):
        (tmp_path / 'file').read_bytes()


def test_a_work_dir_that_is_deleted_ends_the_training(tmp_path):
    folder = tmp_path / 'runs'

    def delete(runner):
        if runner.iter == 4:
            os.rename(folder, tmp_path / 'elsewhere')

    def run():
        with writing_into(folder, lock=True) as lock:
            train(folder, hooks=[WorkDirHook(lock), Stop(delete)])

    with pytest.raises(UsageError, match='runs is gone: it was deleted or moved away'):
        run()
    assert not folder.exists()


def test_a_locale_that_cannot_write_the_name(tmp_path):
    """Train, resume, and read back in a process of that locale."""
    folder = tmp_path / 'ünï'
    code = (
        'import sys; sys.path[:0] = sys.argv[2:]\n'
        'from small_training import train\n'
        'for until in (1, 2):\n    train(sys.argv[1], epochs=2, until=until)\n'
    )
    tests = Path(__file__).parents[1]
    environment = dict(os.environ, LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')
    argv = [sys.executable, '-c', code, str(folder), str(tests), str(tests.parent)]
    done = subprocess.run(argv, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors='replace')
    assert b'Error' not in done.stderr
    assert latest_checkpoint(str(folder)) == str(folder / 'epoch_2.pth')
    log = sorted(folder.glob('*/*.log'))[-1].read_text('utf-8')
    assert 'resumed epoch: 1' in log
    assert f'saved to {folder}' in log
