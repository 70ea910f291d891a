"""Several rows, each in a process of its own, some at a time."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

from ..core.errors import PartlyFailedError
from ..core.paths import shown
from .rows import ROWS

_LOOK_EVERY = 2.0


@dataclass
class _Job:
    process: subprocess.Popen
    began: float
    log: Path


def run_all(
    names: Sequence[str],
    out: Path,
    data_root: str,
    jobs: int,
    threads: Optional[int],
    done: Callable[[str], bool],
) -> None:
    """Run rows; one waits while the row that it begins with runs, or waits, too.

    Ctrl-C and SIGTERM go on to the processes, which save what they have trained.

    Raises:
        PartlyFailedError: Rows failed; the message names their logs.
    """
    out.mkdir(parents=True, exist_ok=True)
    waiting = [name for name in names if not done(name)]
    for name in names:
        if name not in waiting:
            print(f'{name}: done before', flush=True)
    running: Dict[str, _Job] = {}
    failed: List[str] = []
    try:
        while waiting or running:
            for name, job in list(running.items()):
                if job.process.poll() is not None:
                    del running[name]
                    _tell_end(name, job, failed)
            ready = [n for n in waiting if ROWS[n].start not in {*waiting, *running}]
            for name in ready[: jobs - len(running)]:
                waiting.remove(name)
                running[name] = _start(name, out, data_root, threads)
            time.sleep(_LOOK_EVERY)
    finally:
        for job in running.values():
            job.process.terminate()
        for job in running.values():
            job.process.wait()
    if failed:
        logs = ''.join(f'\n  {name}: {shown(out / name)}.log' for name in failed)
        raise PartlyFailedError(f'{len(failed)} of {len(names)} rows failed:{logs}')


def _start(name: str, out: Path, data_root: str, threads: Optional[int]) -> _Job:
    command = [sys.executable, '-m', 'tinyvim_mm', 'scores', name]
    command += ['--out', str(out), '--data-root', data_root]
    environment = dict(os.environ)
    if threads:
        command += ['--threads', str(threads)]
        environment['OMP_NUM_THREADS'] = str(threads)
    log = out / f'{name}.log'
    with log.open('ab') as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    print(f'{name}: begun, {shown(log)}', flush=True)
    return _Job(process, time.monotonic(), log)


def _tell_end(name: str, job: _Job, failed: List[str]) -> None:
    lines = job.log.read_text(encoding='utf-8', errors='replace').strip().splitlines()
    minutes = (time.monotonic() - job.began) / 60
    if job.process.returncode:
        failed.append(name)
        print(f'{name}: FAILED after {minutes:.1f} minutes: {(lines or [""])[-1]}', flush=True)
    else:
        print(f'{(lines or [""])[-1]} ({minutes:.1f} minutes)', flush=True)
