"""Train twice with the same seed and compare every loss and weight, bit by bit."""

import argparse
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from ..records.scalars import read_training
from ..weights.files import load_file
from .resume import differences
from .small_runs import SMALL_RUNS, run


def losses(work_dir: Path) -> List[Dict[str, float]]:
    """All losses of each step of a training that logged every step."""
    return [
        {name: value for name, value in record.items() if 'loss' in name}
        for record in read_training(work_dir)
    ]


def weights(work_dir: Path) -> dict:
    """Those of the one checkpoint that a training has left."""
    (path,) = [*work_dir.glob('epoch_*.pth'), *work_dir.glob('iter_*.pth')]
    return load_file(str(path))['state_dict']


def check(folder: Path, toolbox: str, steps: int, threads: int) -> bool:
    """Train twice, print what was found, and return whether nothing differs."""
    small = SMALL_RUNS[toolbox]
    work_dirs = [folder / f'{toolbox}_{threads}_{name}' for name in ('first', 'second')]
    for work_dir in work_dirs:
        command = small.command(work_dir, -(-steps // small.steps))
        run(command, work_dir.with_suffix('.log'), threads)
    first, second = (losses(work_dir) for work_dir in work_dirs)
    wrong = [
        number
        for number, pair in enumerate(zip(first, second, strict=True), 1)
        if pair[0] != pair[1]
    ]
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


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/check_determinism.py``.

    Raises:
        SystemExit: With code 1 when trainings differ.
    """
    parser = argparse.ArgumentParser(
        prog='tools/check_determinism.py',
        description='Train the recipes on the sample photographs twice with the same seed and '
        'number of threads, and compare all losses and the weights at the end, bit by bit.',
    )
    parser.add_argument('--steps', type=int, default=50, help='of each training (default: 50)')
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2], help='default: 1 2')
    parser.add_argument(
        '--toolboxes', nargs='+', choices=list(SMALL_RUNS), default=list(SMALL_RUNS)
    )
    parser.add_argument('--folder', type=Path, help='keep the trainings here (default: nowhere)')
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        same = [
            check(folder, toolbox, args.steps, threads)
            for toolbox in args.toolboxes
            for threads in args.threads
        ]
    raise SystemExit(0 if all(same) else 1)
