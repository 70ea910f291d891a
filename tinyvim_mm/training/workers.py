"""Workers of data loaders, which outlive a signal to the whole group of processes.

A terminal sends Ctrl-C to all processes that it shows, and clusters send SIGTERM to all of a job.
The main process then ends its step and saves; until it stops them, its workers go on.
"""

import os
import signal
import threading
from typing import Any, Callable, Optional

from torch.utils.data import DataLoader


def guard_workers(loader: DataLoader) -> DataLoader:
    """Let the workers of a loader end when its process ends them, and by no other signal."""
    if loader.num_workers and not isinstance(loader.worker_init_fn, _Guarded):
        loader.worker_init_fn = _Guarded(loader.worker_init_fn)
    return loader


class _Guarded:
    """What a worker calls first; a class, so that it can be pickled for spawned workers."""

    def __init__(self, original: Optional[Callable[[int], Any]]) -> None:
        self.original = original

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if hasattr(signal, 'sigwaitinfo'):  # POSIX, but for macOS
            # A handler in Python does not learn who sent a signal, and torch's own handler ends
            # the worker whoever did. Threads that libraries start before, in workers that are
            # spawned, do not block it, and may get it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()
        if self.original is not None:
            self.original(worker)


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
