"""Train twice with the same seed and compare every loss and weight, bit by bit."""

import itertools
import tempfile
from pathlib import Path
from typing import Dict, List, Sequence, Union

from ..records.scalars import read_training
from ..weights.files import load_file
from .resume import differences
from .small_runs import SMALL_RUNS, run


def check_determinism(
    steps: int = 50,
    threads: Sequence[int] = (1, 2),
    toolboxes: Sequence[str] = tuple(SMALL_RUNS),
    folder: Union[str, Path, None] = None,
) -> bool:
    """Train the recipes on the sample photographs twice, and print what differs.

    Args:
        steps: Of each training.
        threads: Numbers of threads, a pair of trainings each.
        toolboxes: Whose recipes, of :data:`~.small_runs.SMALL_RUNS`.
        folder: Keep the trainings here; ``None`` keeps none.

    Returns:
        Whether all losses and weights are the same, bit by bit.

    Raises:
        RuntimeError: A training failed.

    Example:
        >>> from tinyvim_mm.reliability import check_determinism
        >>> check_determinism(steps=10, threads=[1])  # doctest: +SKIP
        True
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        runs = itertools.product(toolboxes, threads)
        return all([_check(folder, toolbox, steps, number) for toolbox, number in runs])


def losses(work_dir: Path) -> List[Dict[str, float]]:
    """All losses of each step of a training that logged every step."""
    records = read_training(work_dir)
    return [{name: r[name] for name in r if 'loss' in name} for r in records]


def weights(work_dir: Path) -> dict:
    """Those of the one checkpoint that a training has left."""
    (path,) = [*work_dir.glob('epoch_*.pth'), *work_dir.glob('iter_*.pth')]
    return load_file(str(path))['state_dict']


def _check(folder: Path, toolbox: str, steps: int, threads: int) -> bool:
    """Train twice, print what was found, and return whether nothing differs."""
    small = SMALL_RUNS[toolbox]
    work_dirs = [folder / f'{toolbox}_{threads}_{name}' for name in ('first', 'second')]
    for work_dir in work_dirs:
        command = small.command(work_dir, -(-steps // small.steps))
        run(command, work_dir.with_suffix('.log'), threads)
    first, second = (losses(work_dir) for work_dir in work_dirs)
    pairs = enumerate(zip(first, second, strict=True), 1)
    wrong = [number for number, (one, other) in pairs if one != other]
    tensors = weights(work_dirs[0])
    changed = list(differences(tensors, weights(work_dirs[1])))
    print(
        f'{toolbox} ({small.config}), {threads} threads: {len(first)} steps twice; '
        f'{len(first[0])} losses a step, different in {len(wrong)} steps'
        + (f' (first in step {wrong[0]})' if wrong else '')
        + f'; {len(changed)} of {len(tensors)} tensors of the weights differ',
        flush=True,
    )
    return not (wrong or changed)
