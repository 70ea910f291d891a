"""SIGTERM, which clusters send before they kill, ends a command as Ctrl-C does."""

import os
import signal
import threading
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Sequence

from .errors import TERMINATED, Interruption

Handler = Callable[[int, Any], None]


@contextmanager
def terminable() -> Iterator[None]:
    """Raise :class:`~.errors.Interruption` at SIGTERM, as Python raises KeyboardInterrupt."""

    def end(number: int, frame: Any) -> None:
        raise Interruption('terminated', TERMINATED)

    with handling([signal.SIGTERM], end):
        yield


@contextmanager
def handling(numbers: Sequence[int], handler: Handler) -> Iterator[None]:
    """Handle signals to this process, and not to the processes that it forks, in this context.

    Of a forked process SIGINT is passed over, since who sends it means the main process, and
    other signals do what they do by default. In a thread other than the main one, where Python
    allows no handlers, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def handle(number: int, frame: Any) -> None:
        if os.getpid() == process:
            handler(number, frame)
        elif number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before: Dict[int, Any] = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            if signal.getsignal(number) is handle:  # else somebody wants another
                # One that was not set from Python cannot be set back from there.
                signal.signal(number, signal.SIG_DFL if previous is None else previous)
