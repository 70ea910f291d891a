"""``tinyvim-mm benchmark``, also ``tools/benchmark_*.py``."""

import argparse
from typing import Optional, Sequence, Tuple

from .. import benchmarks
from .options import count
from .run import run_command, run_one_of

_KINDS = {
    'scan': 'every scan backend that runs here',
    'backends': 'whole backbones with every scan backend that runs here, and without a scan',
    'latency': 'whole backbones on a CPU, in all their forms',
    'training': 'steps of training on a CPU, by precision and layout of memory',
}


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tinyvim-mm benchmark') -> None:
    """Run ``scan``, ``backends``, ``latency`` or ``training``.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.
        prog: How the user called it.

    Raises:
        SystemExit: With code 2 after an error that the user can cure.
    """
    parser = argparse.ArgumentParser(prog=prog, description='Verify, then time.')
    mains = {'scan': scan, 'backends': backends, 'latency': latency, 'training': training}
    run_one_of(_KINDS, mains.get, parser, argv)


def scan_parser(prog: str) -> argparse.ArgumentParser:
    """Options of ``scan``."""
    parser = argparse.ArgumentParser(
        prog=prog, description='Verify, then time, every scan backend that runs here.'
    )
    parser.add_argument('--device', help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--batch', type=count, default=1, help='images in a batch')
    parser.add_argument('--rounds', type=count, default=9, help='turns of each contender')
    parser.add_argument('--filter', default='', help='only shapes whose name contains this')
    parser.add_argument('--backends', nargs='+', help='only these; "usual" is one of them')
    parser.add_argument(
        '--no-backbone',
        dest='backbone',
        action='store_false',
        help='leave out the whole backbone',
    )
    parser.add_argument('--threads', type=count, help='CPU threads')
    parser.add_argument('--out', default='work_dirs/benchmark_scan', help='folder for the results')
    return parser


def scan(argv: Optional[Sequence[str]] = None, prog: str = 'tools/benchmark_scan.py') -> None:
    """Run ``scan``; arguments as in :func:`main`."""
    run_command(scan_parser(prog), lambda: benchmarks.time_scan, argv)


def backends_parser(prog: str) -> argparse.ArgumentParser:
    """Options of ``backends``."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description='Verify, then time, whole TinyViM backbones with every scan backend that runs '
        'here, and without a scan, which is the limit.',
    )
    add = parser.add_argument
    add('--archs', nargs='+', default=['s', 'b', 'l'], choices=['s', 'b', 'l'])
    add('--size', type=_size, default=(224, 224), help='height and width, such as 800x1344')
    add('--batch', type=count, default=1, help='images at a time')
    add('--precision', choices=['fp32', 'bf16'], default='fp32')
    add('--train', action='store_true', help='steps of training in place of inference')
    add('--backends', nargs='+', help='only these')
    add('--device', help='cpu or cuda (default: cuda where there is one)')
    add('--rounds', type=count, default=9, help='turns of each contender')
    add('--threads', type=count, help='CPU threads')
    add('--out', default='work_dirs/benchmark_backends', help='folder for the results')
    return parser


def backends(
    argv: Optional[Sequence[str]] = None, prog: str = 'tools/benchmark_backends.py'
) -> None:
    """Run ``backends``; arguments as in :func:`main`."""
    run_command(backends_parser(prog), lambda: benchmarks.time_backends, argv)


def latency_parser(prog: str) -> argparse.ArgumentParser:
    """Options of ``latency``."""
    from ..models.catalogue import network_names

    parser = argparse.ArgumentParser(
        prog=prog,
        description='Verify, then time, backbones on a CPU: the form that trains, '
        'reparameterized, compiled, and in ONNX Runtime. Ratios are to the deployed form.',
    )
    parser.add_argument(
        '--models',
        nargs='+',
        default=['tinyvim_s', 'tinyvim_b', 'tinyvim_l'],
        choices=network_names(),
        metavar='MODEL',
        help=f'of {", ".join(network_names())}',
    )
    parser.add_argument('--sizes', nargs='+', type=_size, default=[(224, 224), (800, 1344)])
    parser.add_argument(
        '--forms', nargs='+', default=list(benchmarks.FORMS), choices=benchmarks.FORMS
    )
    parser.add_argument('--rounds', type=count, default=15, help='turns of each form')
    parser.add_argument('--threads', type=count, help='CPU threads')
    parser.add_argument('--out', default='work_dirs/benchmark_latency', help='folder for results')
    return parser


def _size(text: str) -> Tuple[int, int]:
    height, _, width = text.partition('x')
    return int(height), int(width or height)


def latency(argv: Optional[Sequence[str]] = None, prog: str = 'tools/benchmark_latency.py') -> None:
    """Run ``latency``; arguments as in :func:`main`."""
    run_command(latency_parser(prog), lambda: benchmarks.time_latency, argv)


def training_parser(prog: str) -> argparse.ArgumentParser:
    """Options of ``training``."""
    from ..models.catalogue import network_names

    parser = argparse.ArgumentParser(
        prog=prog,
        description='Verify, then time, steps of training on a CPU: in fp32 and bfloat16, '
        'contiguous and channels-last. Ratios are to the first form.',
    )
    parser.add_argument(
        '--models',
        nargs='+',
        default=['tinyvim_s', 'tinyvim_b'],
        choices=network_names(),
        metavar='MODEL',
        help=f'of {", ".join(network_names())}',
    )
    parser.add_argument('--size', type=count, default=128, help='height and width of the images')
    parser.add_argument('--batch', type=count, default=64, help='images of a step')
    parser.add_argument(
        '--forms',
        nargs='+',
        default=list(benchmarks.TRAINING_FORMS),
        choices=benchmarks.TRAINING_FORMS,
    )
    parser.add_argument('--rounds', type=count, default=9, help='turns of each form')
    parser.add_argument('--threads', type=count, help='CPU threads')
    parser.add_argument('--out', default='work_dirs/benchmark_training', help='folder for results')
    return parser


def training(
    argv: Optional[Sequence[str]] = None, prog: str = 'tools/benchmark_training.py'
) -> None:
    """Run ``training``; arguments as in :func:`main`."""
    run_command(training_parser(prog), lambda: benchmarks.time_training, argv)
