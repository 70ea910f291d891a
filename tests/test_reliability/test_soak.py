"""The soak, on a toy: what it does to a training, what it finds, and what it calls flat."""

import itertools
import json
import mmap
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip('mmengine')

import torch

from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.reliability import disk
from tinyvim_mm.reliability.disk import Ballast
from tinyvim_mm.reliability.memory import memory_mib, trend
from tinyvim_mm.reliability.soak import Soak, check_soak

SECONDS = 2.0
needs_fork = pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system cannot fork')


def train(work_dir, full, forgets):
    """Numbers drawn one after the other; a checkpoint holds all that the next epoch needs."""
    work_dir.mkdir(parents=True, exist_ok=True)
    saved = sorted(work_dir.glob('epoch_*.pth'), key=lambda path: int(path.stem[6:]))
    state = torch.load(saved[-1]) if saved else {'epoch': 0, 'weights': torch.zeros(3)}
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    for epoch in itertools.count(state['epoch'] + 1):
        time.sleep(0.01)  # the steps of an epoch
        generator = torch.Generator().manual_seed(0 if forgets and saved else epoch)
        state['weights'] = 0.9 * state['weights'] + torch.randn(3, generator=generator)
        if full.exists():
            os._exit(2)
        state['epoch'] = epoch
        content = {
            **state,
            'state_dict': {'w': state['weights']},
            'ema_state_dict': {},
            'optimizer': {'lr': 0.1},
            'param_schedulers': [],
        }
        part = work_dir / f'.epoch_{epoch}.pth.part'
        torch.save(content, part)
        part.rename(work_dir / f'epoch_{epoch}.pth')


class Forked:
    """A process with everything imported, as :class:`subprocess.Popen` sees it."""

    def __init__(self, *arguments):
        self.process = multiprocessing.get_context('fork').Process(target=train, args=arguments)
        self.process.start()
        self.pid, self.kill = self.process.pid, self.process.kill

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)


class ToyTraining:
    sample_s = 0.01

    def __init__(self, full, forgets=False):
        self.full, self.forgets = full, forgets

    def start(self, work_dir, log):
        log.touch()
        disturbed = work_dir.parent.name == 'small'
        full = self.full if disturbed else self.full.with_name('never')
        return Forked(work_dir, full, self.forgets and disturbed)


class Marker:
    """In place of a disk that is full: a file that the toy looks for."""

    def __init__(self, path):
        self.path = path
        self.fill, self.free = path.touch, lambda: path.unlink(missing_ok=True)


def soak(tmp_path, **options):
    work_dir = tmp_path / 'small'
    work_dir.mkdir()
    marker = Marker(work_dir / 'full')
    training = ToyTraining(marker.path, **options)
    # Forks begin with memory that they share, which says nothing of leaks.
    # The first three disturbances are of three kinds.
    return Soak(work_dir, tmp_path, 17, 0.1, training, marker, warm_up=1e6)


@needs_fork
def test_a_toy_that_is_disturbed_ends_like_one_that_is_not(tmp_path, capsys):
    one = soak(tmp_path)
    assert one.run(SECONDS)
    record = json.loads((tmp_path / 'soak.json').read_text())
    assert record['ok']
    assert record['different'] == []
    kinds = {event['kind'] for event in record['events']}
    assert kinds == {'SIGKILL', 'SIGTERM', 'full disk'}, capsys.readouterr().out
    assert (tmp_path / 'soak.png').stat().st_size > 1000
    assert record['minutes'] >= round(SECONDS / 60, 1)
    assert f'{record["epochs"]} epochs, disturbed by' in capsys.readouterr().out
    assert not multiprocessing.active_children()


@needs_fork
def test_a_training_that_resumes_wrongly_is_found_out(tmp_path, capsys):
    one = soak(tmp_path, forgets=True)
    assert not one.run(SECONDS)
    assert '.state_dict.w' in capsys.readouterr().out


@needs_fork
def test_a_training_that_fails_by_itself_is_no_disturbance(tmp_path):
    one = soak(tmp_path)
    one.training.full = one.work_dir  # is always there
    with pytest.raises(RuntimeError, match=r'ended with code 2, see .*log'):
        one.run(SECONDS)


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / 'training').mkdir()
    with pytest.raises(UsageError, match='is there already'):
        check_soak(work_dir=tmp_path)
    with pytest.raises(UsageError, match='positive'):
        check_soak(minutes=float('nan'))


def test_a_large_disk_is_never_filled(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, 'MOST_BYTES', 0)
    with pytest.raises(ValueError, match='it is not filled'):
        Ballast(tmp_path / 'ballast').fill()
    assert not list(tmp_path.iterdir())


def noisy(slope_per_hour):
    rng = random.Random(0)
    peaks = [200.0 if i % 5 == 0 else 0.0 for i in range(3000)]
    return [
        (2.0 * i, 500 + rng.gauss(0, 5) + p + slope_per_hour * i / 1800)
        for i, p in enumerate(peaks)
    ]


@pytest.mark.parametrize(('slope', 'flat'), [(0, True), (-30, True), (30, False)])
def test_a_leak_is_told_from_peaks(slope, flat):
    found = trend(noisy(slope))
    assert found.flat is flat
    assert abs(found.slope_mib_per_hour - slope) < 2
    assert trend([(0, 1), (1, 1)]) is None


@pytest.mark.skipif(
    not Path('/proc/self/smaps_rollup').is_file(), reason='this system has no /proc'
)
def test_memory_counts_what_a_process_takes():
    # A mapping of its own: malloc might hand out pages that earlier tests have freed.
    with mmap.mmap(-1, 2**26, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as taken:
        before = memory_mib(os.getpid())
        taken.write(b'x' * 2**26)
        assert memory_mib(os.getpid()) - before > 50
    assert memory_mib(os.getpid()) - before < 30
    assert memory_mib(2**22 + 1) is None
