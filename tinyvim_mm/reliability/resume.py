"""Kill a training again and again, resume it, and compare it with one that ran through.

Half of the kills fall at random moments, the others while a checkpoint is being
written. The network is trained on a CPU by the ImageNet recipe: optimizer,
learning rate schedule, moving average of the weights, adaptive clipping and the
order of the pictures all have to come back.
"""

import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple, Union

import torch

from ..weights.files import load_file
from .small_runs import SMALL_RUNS, environment, run

RUN = SMALL_RUNS['mmpretrain']
#: A kill at a random moment falls into so many seconds after the first step.
WINDOW_S = 1.5
_POLL_S = 0.001
_PATIENCE_S = 600
# What has to be the same; the rest of a checkpoint tells time and speed.
_COMPARED = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')


class Kill(NamedTuple):
    """What one kill found.

    Whether half a checkpoint lay there afterwards, the epoch of the checkpoint that the training
    had started from (0 for none), and how many whole ones it had saved.
    """

    writing: bool
    resumed_from: int
    saved: int


def check_resume(kills: int = 20, seed: int = 0, folder: Union[str, Path, None] = None) -> bool:
    """Kill and resume a training, compare it with an undisturbed one, and print the figures.

    Args:
        kills: How often.
        seed: Chooses the moments.
        folder: Keep the trainings here; ``None`` keeps none.

    Returns:
        Whether weights, their average, optimizer and schedules are the same, bit by bit.

    Raises:
        RuntimeError: A training failed, or ended before it was killed.

    Example:
        >>> from tinyvim_mm.reliability import check_resume
        >>> check_resume(kills=2)  # doctest: +SKIP
        True
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return _check(folder, kills, seed)


def kill_training(work_dir: Path, epochs: int, while_writing: bool, rng: random.Random) -> Kill:
    """Start a training, or resume it as the kill before left it, and kill it with SIGKILL.

    Args:
        work_dir: Of the training.
        epochs: Its length; it must not come to its end.
        while_writing: Kill while a checkpoint is being written, else at a random moment
            after the first step.
        rng: Chooses the moment.

    Raises:
        RuntimeError: The training ended by itself.
    """
    log = work_dir.parent / 'killed.log'
    before = _epoch(work_dir)
    for part in work_dir.glob('.*.part'):
        part.unlink()  # so that the next one seen is of this training
    first = log.stat().st_size if log.is_file() else 0
    with log.open('ab') as stream:
        process = subprocess.Popen(
            _resuming(work_dir, epochs), stdout=stream, stderr=subprocess.STDOUT, env=environment()
        )
    try:
        _wait_for_moment(process, work_dir, log, first, while_writing, rng)
    finally:
        process.send_signal(signal.SIGKILL)
        code = process.wait()
    if code != -signal.SIGKILL:
        raise RuntimeError(f'the training ended with code {code} before it was killed, see {log}')
    return Kill(bool(list(work_dir.glob('.*.part'))), before, _epoch(work_dir) - before)


def _resuming(work_dir: Path, epochs: int) -> List[str]:
    command = RUN.command(work_dir, epochs)
    return [*command[:3], '--resume', *command[3:]]


def _epoch(work_dir: Path) -> int:
    """Of the latest checkpoint."""
    names = [path.stem for path in work_dir.glob('epoch_*.pth')]
    return max((int(name.rpartition('_')[2]) for name in names), default=0)


def _wait_for_moment(
    process: subprocess.Popen,
    work_dir: Path,
    log: Path,
    first: int,
    while_writing: bool,
    rng: random.Random,
) -> None:
    # The writing takes tenths of a second.
    delay = rng.uniform(0, 0.05) if while_writing else rng.uniform(0, WINDOW_S)
    checkpoints_to_let_pass = rng.randint(0, 1)
    passed = set()
    give_up = time.monotonic() + _PATIENCE_S
    while process.poll() is None and time.monotonic() < give_up:
        if while_writing:
            parts = {path.name for path in work_dir.glob('.*.part')} - passed
            if parts and checkpoints_to_let_pass:
                passed |= parts
                checkpoints_to_let_pass -= 1
            elif parts:
                time.sleep(delay)
                return
        elif b'Epoch(train)' in log.read_bytes()[first:]:
            time.sleep(delay)
            return
        time.sleep(_POLL_S)


def differences(expected: Any, found: Any, place: str = '') -> Iterator[str]:
    """Places at which two checkpoints are not the same, bit by bit."""
    lists = isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple))
    if lists and len(expected) == len(found):
        expected, found = dict(enumerate(expected)), dict(enumerate(found))
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in {**expected, **found}:
            if key in expected and key in found:
                yield from differences(expected[key], found[key], f'{place}.{key}')
            else:
                yield f'{place}.{key}'
    elif isinstance(expected, torch.Tensor):
        if not (isinstance(found, torch.Tensor) and torch.equal(expected, found)):
            yield place
    elif expected != found:
        yield place


def compare(expected: Path, found: Path) -> Tuple[int, list]:
    """Number of tensors compared, and where two checkpoints differ.

    Raises:
        KeyError: One lacks the weights, their moving average, or the state of the
            optimizer or the schedule.
    """
    first, second = (load_file(str(path)) for path in (expected, found))
    parts: Tuple[Dict[str, Any], Dict[str, Any]] = tuple(
        {name: checkpoint[name] for name in _COMPARED} for checkpoint in (first, second)
    )
    return _tensors(parts[0]), list(differences(*parts))


def _tensors(node: Any) -> int:
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        return sum(map(_tensors, node))
    return int(isinstance(node, torch.Tensor))


def _check(folder: Path, kills: int, seed: int) -> bool:
    rng = random.Random(seed)
    # A kill lets two or three pass at most, most of them fewer.
    epochs = 2 * kills + 6
    final = f'epoch_{epochs}.pth'
    print(f'undisturbed: {RUN.config}, {epochs} epochs of {RUN.steps} steps', flush=True)
    run(RUN.command(folder / 'undisturbed', epochs), folder / 'undisturbed.log')
    work_dir = folder / 'killed'
    found = []
    for number in range(kills):
        kill = kill_training(work_dir, epochs, number % 2 == 1, rng)
        found.append(kill)
        print(
            f'kill {number + 1}: after epoch {kill.resumed_from}, saved {kill.saved} more, killed '
            + ('while it wrote a checkpoint' if kill.writing else 'between checkpoints'),
            flush=True,
        )
    run(_resuming(work_dir, epochs), folder / 'killed.log')
    tensors, where = compare(folder / 'undisturbed' / final, work_dir / final)
    writing = sum(kill.writing for kill in found)
    print(
        f'{kills} kills, {writing} of them while a checkpoint was being written; after '
        f'{epochs * RUN.steps} steps {len(where)} of {tensors} tensors and settings differ '
        f'({", ".join(_COMPARED)})'
    )
    for place in where[:10]:
        print(f'  differs: {place}')
    return not where
