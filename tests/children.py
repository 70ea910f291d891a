"""Calls in a process of their own, so that a crash is a result like another.

A script of calls ends with ``serve(function)``; a test asks it with :func:`outcomes`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

ROOT = Path(__file__).resolve().parents[1]
_MARK = '@@'
#: Crashes after which the rest is given up.
_MOST_CRASHES = 20


def serve(function: Callable[[Any], str]) -> None:
    """In the child: call the function with each item of the list on stdin."""
    for item in json.load(sys.stdin):
        print(_MARK + json.dumps({'begun': item}), flush=True)
        print(_MARK + json.dumps({'item': item, 'outcome': function(item)}), flush=True)


def outcomes(script: str, items: List[Any], timeout: float, *arguments: str) -> Dict[Any, str]:
    """What the script's function says of each item; ``'CRASH ...'`` where the process ended.

    All items have one process. After a crash the remaining ones get another.

    Args:
        script: Its name in ``tests``.
        items: What its function takes: names or numbers.
        timeout: Seconds for all of them; the item at which they are over is a crash.
        *arguments: Of the script.
    """
    # Freed and fresh memory get a pattern, so that nobody reads a lucky zero there.
    environment = {**os.environ, 'MALLOC_PERTURB_': '165'}
    found: Dict[Any, str] = {}
    rest = list(items)
    for _ in range(_MOST_CRASHES):
        command = [sys.executable, '-X', 'faulthandler', f'tests/{script}', *arguments]
        # Files, not pipes: what was written is there after a timeout too.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**environment, 'PYTHONPATH': str(ROOT)},
        )
        try:
            stdout, stderr = process.communicate(json.dumps(rest), timeout)
            end = f'exit status {process.returncode}'
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            end = f'not done after {timeout:.0f} s'
        lines = [json.loads(s[len(_MARK) :]) for s in stdout.splitlines() if s.startswith(_MARK)]
        found.update((line['item'], line['outcome']) for line in lines if 'item' in line)
        begun = [line['begun'] for line in lines if 'begun' in line]
        if not begun:
            raise RuntimeError(f'{" ".join(command)} began nothing, {end}:\n{stderr[-3000:]}')
        if len(begun) == len(rest) and begun[-1] in found:
            if process.returncode:
                found[begun[-1]] = f'CRASH at the end of the process, {end}: {stderr[-1500:]}'
            return found
        found[begun[-1]] = f'CRASH, {end}: {_stack(stderr)}'
        rest = rest[len(begun) :]
        if not rest:
            return found
    return found


def _stack(stderr: str) -> str:
    """The part of faulthandler's text that says where it was."""
    lines = stderr.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith('Fatal Python error')), None)
    return '\n'.join(lines[-15:] if first is None else lines[first : first + 15])
