"""Ctrl-C and SIGTERM in commands, and in workers of data loaders."""

import argparse
import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip('mmengine')

import torch
from scanned_dataset import Scanned, scan
from torch.utils.data import DataLoader, Dataset

from tinyvim_mm.commands.run import run_command
from tinyvim_mm.core.errors import INTERRUPTED, TERMINATED
from tinyvim_mm.core.signals import handling
from tinyvim_mm.reliability.determinism import weights
from tinyvim_mm.reliability.small_runs import SMALL_RUNS, environment, run
from tinyvim_mm.training.workers import guard_workers

needs_fork = pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system cannot fork')


@pytest.mark.parametrize(
    ('number', 'code', 'word'),
    [
        (signal.SIGINT, INTERRUPTED, 'interrupted'),
        (signal.SIGTERM, TERMINATED, 'terminated'),
    ],
)
def test_a_command_ends_with_one_line(number, code, word, capsys, request):
    if number == signal.SIGINT:  # a shell starts its background jobs without Python's handler
        original = signal.signal(number, signal.default_int_handler)
        request.addfinalizer(lambda: signal.signal(number, original))
    before = signal.getsignal(number)

    def work():
        os.kill(os.getpid(), number)
        raise AssertionError('it goes on')

    with pytest.raises(SystemExit) as caught:
        run_command(argparse.ArgumentParser('tools/demo.py'), lambda: work, [], needs=())
    assert caught.value.code == code
    assert capsys.readouterr().err == f'tools/demo.py: {word}\n'
    assert signal.getsignal(number) == before


@needs_fork
@pytest.mark.parametrize(('number', 'end'), [(signal.SIGINT, 7), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_forked_process_does_not_take_the_signals_of_its_parent(number, end):
    caught = []
    with handling([number], lambda *_: caught.append(os.getpid())):
        child = os.fork()
        if not child:
            os.kill(os.getpid(), number)
            os._exit(7)
        status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == end
    assert caught == []


# -- workers ----------------------------------------------------------------------------


class Signalled(Dataset):
    """Its worker gets a signal, from another process than its parent, before each sample."""

    def __init__(self, number):
        self.number = number

    def __len__(self):
        return 4

    def __getitem__(self, index):
        subprocess.run(['sh', '-c', f'kill -{int(self.number)} {os.getpid()}'], check=True)
        return index


@needs_fork
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_workers_outlive_the_signals_of_others(number, capfd):
    loader = guard_workers(
        DataLoader(Signalled(number), num_workers=2, multiprocessing_context='fork')
    )
    assert guard_workers(loader) is loader
    assert [int(batch) for batch in loader] == [0, 1, 2, 3]
    iterator = iter(loader)
    workers = iterator._workers
    next(iterator)
    for worker in workers:
        while worker.is_alive():  # of two signals at the same moment the system may drop one
            worker.terminate()
            worker.join(1)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert capfd.readouterr().err == ''


LOST_SIGNAL = """
import os
from multiprocessing.popen_fork import Popen
from torch.utils.data import DataLoader
from tinyvim_mm.training.workers import guard_workers

Popen.terminate = lambda self: None
loader = DataLoader(
    range(4), num_workers=2, persistent_workers=True, multiprocessing_context='fork'
)
iterator = iter(guard_workers(loader))
print(*(worker.pid for worker in iterator._workers), *map(int, iterator), flush=True)
"""


@needs_fork
def test_workers_end_with_their_process_although_its_signal_is_lost():
    done = subprocess.run(
        [sys.executable, '-c', LOST_SIGNAL], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, '')
    *workers, _, _, _, _ = map(int, done.stdout.split())
    assert len(workers) == 2
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


@pytest.mark.parametrize(
    'start', [pytest.param('fork', marks=needs_fork), pytest.param('spawn', marks=pytest.mark.slow)]
)
def test_workers_that_start_after_the_operator_ran(start):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # with the pool of threads, which a fork does not take over
    try:
        expected = [scan(index) for index in range(3)]
        loader = guard_workers(
            DataLoader(
                Scanned(), batch_size=None, num_workers=2, multiprocessing_context=start, timeout=60
            )
        )
        assert all(map(torch.equal, expected, loader))
    finally:
        torch.set_num_threads(threads)


# -- the whole tool ---------------------------------------------------------------------


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_tool_with_workers_in_the_terminal(number, tmp_path):
    """All processes of the group get the signal, as from a terminal or a cluster."""
    small = SMALL_RUNS['mmpretrain']
    options = ['train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=False']

    def command(name):
        return [*small.command(tmp_path / name, 3), *options]

    run(command('whole'), tmp_path / 'log', 1)
    process = subprocess.Popen(
        command('parts'),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(1),
    )
    while 'Epoch(train)' not in (line := process.stdout.readline()):
        assert line, process.stderr.read()
    os.killpg(process.pid, number)
    errors = process.communicate()[1].partition('stopping after this step')[2].splitlines()
    assert process.returncode == 128 + number
    assert errors[1].startswith('tools/train.py: stopped after epoch 1')
    assert errors[2].startswith('go on with: python tools/train.py')
    assert len(errors) == 3
    run([*command('parts')[:3], '--resume', *command('parts')[3:]], tmp_path / 'log', 1)
    whole, parts = weights(tmp_path / 'whole'), weights(tmp_path / 'parts')
    assert [key for key, value in whole.items() if not torch.equal(value, parts[key])] == []
