"""Workers of data loaders, which outlive a signal to the whole group of processes.

A terminal sends Ctrl-C to all processes that it shows, and clusters send SIGTERM to all of a job.
The main process then ends its step and saves; until it stops them, its workers go on.
"""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any, Callable, Optional

from torch.utils.data import DataLoader

#: How often a worker looks whether its process ends, in seconds.
_PERIOD_S = 1.0


def guard_workers(loader: DataLoader) -> DataLoader:
    """Let the workers of a loader end when its process ends them, and by no other signal."""
    if loader.num_workers and not isinstance(loader.worker_init_fn, _Guarded):
        context = loader.multiprocessing_context or multiprocessing
        ending, end = context.Pipe(duplex=False)
        loader.worker_init_fn = _Guarded(loader.worker_init_fn, ending)
        # Before Python terminates its workers and waits for them, however long.
        Finalize(loader.worker_init_fn, end.send_bytes, (b'end',), exitpriority=100)
    return loader


class _Guarded:
    """What a worker calls first; a class, so that it can be pickled for spawned workers.

    Args:
        original: What it would have called otherwise.
        ending: Has something to be read once the main process ends. Of two SIGTERMs that come at
            the same moment the system hands over one, and that may be the one to pass over.
    """

    def __init__(self, original: Optional[Callable[[int], Any]], ending: Connection) -> None:
        self.original, self.ending = original, ending

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if hasattr(signal, 'sigtimedwait'):  # POSIX, but for macOS
            # A handler in Python does not learn who sent a signal, and torch's own handler ends
            # the worker whoever did. Threads that libraries start before, in workers that are
            # spawned, do not block it, and may get it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            arguments = (os.getppid(), self.ending)
            threading.Thread(target=_wait_for_parent, args=arguments, daemon=True).start()
        if self.original is not None:
            self.original(worker)


def _wait_for_parent(parent: int, ending: Connection) -> None:
    while not ending.poll():
        received = signal.sigtimedwait({signal.SIGTERM}, _PERIOD_S)
        if received is not None and received.si_pid == parent:
            break
    os._exit(0)
