"""``tinyvim-mm check``; ``tools/check_resume.py``, ``check_determinism.py``, ``check_soak.py``."""

import argparse
from pathlib import Path
from typing import Optional, Sequence

from .. import reliability
from ..reliability.small_runs import SMALL_RUNS
from .run import run_command, run_one_of

_KINDS = {
    'resume': 'kill and resume a training, and compare it with one that ran through',
    'determinism': 'train twice with the same seed, and compare',
    'soak': 'train for hours with kills and full disks, and compare; memory over time',
}


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tinyvim-mm check') -> None:
    """Run ``resume``, ``determinism`` or ``soak``.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.
        prog: How the user called it.

    Raises:
        SystemExit: With code 1 when trainings differ, 2 after an error in the command.
    """
    parser = argparse.ArgumentParser(prog=prog, description='Compare trainings, bit by bit.')
    functions = {'resume': resume, 'determinism': determinism, 'soak': soak}
    run_one_of(_KINDS, functions.get, parser, argv)


def resume_parser(prog: str) -> argparse.ArgumentParser:
    """Options of ``resume``."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description='Kill a training on the sample photographs with SIGKILL, resume it each '
        'time, and compare its end with that of an undisturbed one, bit by bit.',
    )
    parser.add_argument('--kills', type=int, default=20, help='how often (default: 20)')
    parser.add_argument('--seed', type=int, default=0, help='chooses the moments (default: 0)')
    parser.add_argument('--folder', type=Path, help='keep the trainings here (default: nowhere)')
    return parser


def resume(argv: Optional[Sequence[str]] = None, prog: str = 'tools/check_resume.py') -> None:
    """Run ``resume``; arguments as in :func:`main`."""
    if not run_command(resume_parser(prog), lambda: reliability.check_resume, argv):
        raise SystemExit(1)


def determinism_parser(prog: str) -> argparse.ArgumentParser:
    """Options of ``determinism``."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description='Train the recipes on the sample photographs twice with the same seed and '
        'number of threads, and compare all losses and the weights at the end, bit by bit.',
    )
    parser.add_argument('--steps', type=int, default=50, help='of each training (default: 50)')
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2], help='default: 1 2')
    parser.add_argument(
        '--toolboxes', nargs='+', choices=list(SMALL_RUNS), default=list(SMALL_RUNS)
    )
    parser.add_argument('--folder', type=Path, help='keep the trainings here (default: nowhere)')
    return parser


def determinism(
    argv: Optional[Sequence[str]] = None, prog: str = 'tools/check_determinism.py'
) -> None:
    """Run ``determinism``; arguments as in :func:`main`."""
    if not run_command(determinism_parser(prog), lambda: reliability.check_determinism, argv):
        raise SystemExit(1)


def soak_parser(prog: str) -> argparse.ArgumentParser:
    """Options of ``soak``."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description='Train on the sample photographs with SIGKILL, SIGTERM and a full disk at '
        'random moments, resume each time, and compare the end with that of an undisturbed '
        'training, which runs at the same time, bit by bit. Also judges whether memory is flat.',
    )
    parser.add_argument('--minutes', type=float, default=90, help='at least (default: 90)')
    parser.add_argument(
        '--every', type=float, default=3, help='minutes between disturbances (default: 3)'
    )
    parser.add_argument('--seed', type=int, default=0, help='chooses them (default: 0)')
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='of the disturbed training; on a file system of 0.5 to 2 GB, mounted for this, which '
        'is filled up now and then: `mount -t tmpfs -o size=600m tmpfs DIR` (default: not filled)',
    )
    parser.add_argument(
        '--folder',
        type=Path,
        help='keep soak.json, soak.png, logs and the undisturbed training here (default: nowhere)',
    )
    return parser


def soak(argv: Optional[Sequence[str]] = None, prog: str = 'tools/check_soak.py') -> None:
    """Run ``soak``; arguments as in :func:`main`."""
    if not run_command(soak_parser(prog), lambda: reliability.check_soak, argv):
        raise SystemExit(1)
