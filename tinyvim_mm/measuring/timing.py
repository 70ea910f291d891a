"""Fair timing: contenders take turns, so that a busy machine hits all alike."""

import datetime
import platform
import shlex
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, List, Optional

import torch
from torch import nn

from ..version import __version__


@dataclass(frozen=True)
class Timing:
    """Seconds of one call.

    Attributes:
        median: Over the rounds.
        spread: Distance between the quartiles.
    """

    median: float
    spread: float


def time_in_turns(
    contenders: Dict[str, Callable[[], Any]],
    device: torch.device,
    rounds: int = 9,
    seconds_per_turn: float = 0.05,
) -> Dict[str, Timing]:
    """Time functions against each other in one process.

    Args:
        contenders: Name to function without arguments.
        device: Where they compute; CUDA devices are synchronized around turns.
        rounds: Turns of each contender.
        seconds_per_turn: A turn repeats a fast function until about this long.

    Returns:
        Name to the time of one call.
    """
    repeats = {}
    for name, function in contenders.items():
        for _ in range(2):  # warm-up: compilation, caches, allocator
            function()
        once = seconds_per_call(function, 1, device)
        repeats[name] = max(1, min(1000, int(seconds_per_turn / max(once, 1e-7))))
    turns: Dict[str, List[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, function in contenders.items():
            turns[name].append(seconds_per_call(function, repeats[name], device))
    timings = {}
    for name, values in turns.items():
        quartiles = statistics.quantiles(values, n=4) if len(values) >= 4 else sorted(values)
        timings[name] = Timing(statistics.median(values), quartiles[-1] - quartiles[0])
    return timings


def compile_whole(model: nn.Module) -> nn.Module:
    """``torch.compile`` that raises where it would run a part, or all, uncompiled.

    Compiled models of one class share a cache; past its limit of 8 torch falls
    back to eager with a warning, which a benchmark must not time as compiled.
    """
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, 256)
    return torch.compile(model, fullgraph=True)


def seconds_per_call(function: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Mean time of a call over ``repeats`` calls, with the device synchronized around them."""
    wait = partial(torch.cuda.synchronize, device) if device.type == 'cuda' else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    wait()
    return (time.perf_counter() - start) / repeats


def provenance(device: torch.device, command: Optional[str] = None) -> Dict[str, Any]:
    """What a figure must be published with: machine, versions, date, command.

    Args:
        device: Where it was measured.
        command: How the user called it; ``None`` takes the command line of this process.
    """
    facts = {
        'date': datetime.date.today().isoformat(),
        'command': command or shlex.join(['python', *sys.argv]),
        'tinyvim_mm': __version__,
        'torch': torch.__version__,
        'python': platform.python_version(),
        'device': _device_name(device),
        'threads': torch.get_num_threads(),
    }
    if device.type == 'cuda':
        facts['cuda'] = torch.version.cuda
    return facts


def _device_name(device: torch.device) -> str:
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as lines:
            return next(line.split(':')[1].strip() for line in lines if 'model name' in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
