"""Which process on which machine: words by which another one can find out whether it lives."""

import os
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, Optional


def describe_process() -> Dict[str, Any]:
    """Say of this process what JSON can hold."""
    return dict(
        pid=os.getpid(),
        host=socket.gethostname(),
        started=datetime.now().astimezone().isoformat(timespec='seconds'),
        boot=boot_id(),
        namespace=_namespace(),
        ticks=_ticks(os.getpid()),
    )


def name_process(process: Dict[str, Any]) -> str:
    """Name it in a message."""
    pid, host, started = (process.get(key, '?') for key in ('pid', 'host', 'started'))
    return f'process {pid} on {host}, since {started},' if process else 'another process'


def is_of_this_system(process: Dict[str, Any]) -> bool:
    """Whether it ran on this machine, and that was not started again since."""
    return bool(boot_id()) and process.get('boot') == boot_id()


def lives(process: Dict[str, Any]) -> Optional[bool]:
    """Whether it still runs; ``None`` if it is on another machine, or in another container."""
    if not is_of_this_system(process) or process.get('namespace') != _namespace():
        return None
    # Numbers of processes are used again.
    return _ticks(process.get('pid', 0)) == process.get('ticks')


def boot_id() -> str:
    """What no other machine has, nor this one once it was started again; empty if unknown."""
    with suppress(OSError):
        return Path('/proc/sys/kernel/random/boot_id').read_text('ascii').strip()
    return ''


def _namespace() -> int:
    """Containers on one machine number their processes each for itself."""
    with suppress(OSError):
        return os.stat('/proc/self/ns/pid').st_ino
    return 0


def _ticks(pid: int) -> Optional[int]:
    """When it began, since the machine did: no change of the clock moves it."""
    with suppress(OSError):
        # The name of the program, in brackets, may hold anything.
        words = Path(f'/proc/{pid}/stat').read_text('utf-8', 'replace').rpartition(')')[2].split()
        return None if words[0] in 'ZX' else int(words[19])  # it has ended, and was not waited for
    return None
