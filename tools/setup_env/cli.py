"""The command line."""

import argparse
import os
import signal
import sys
import time
from typing import List, Optional

from .common import SetupError
from .interpreter import ensure_supported_python
from .lock import CheckoutLock
from .plan import Plan
from .progress import format_seconds
from .setup import Setup


def parse(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Set up the virtual environment .venv.')
    parser.add_argument(
        '--device',
        choices=('auto', 'cpu', 'cuda'),
        help='which build of torch; auto: CUDA if nvidia-smi lists a GPU. Default: what the '
        'environment has, else auto',
    )
    parser.add_argument(
        '--stack',
        choices=('onedl', 'openmmlab'),
        help='family of OpenMMLab packages. Default: what the environment has, else onedl',
    )
    parser.add_argument(
        '--torch-index',
        metavar='URL',
        default=os.environ.get('TORCH_INDEX'),
        help='package index for torch and torchvision; "pip" for what pip finds by itself',
    )
    parser.add_argument(
        '--mmcv-wheels',
        metavar='DIR',
        default=os.environ.get('MMCV_WHEELS'),
        help='folder with built wheels of mmcv (default: the variable MMCV_WHEELS)',
    )
    parser.add_argument(
        '--exact-python',
        action='store_true',
        help='this very Python: rebuild an environment of another version',
    )
    parser.add_argument('--quiet', action='store_true', help='say nothing if nothing is to be done')
    return parser.parse_args(arguments)


def set_up(options: argparse.Namespace) -> None:
    """Bring the environment to what is wanted."""
    ensure_supported_python(options.exact_python)
    setup = Setup(options)
    if Plan(setup).pending() == []:
        if not options.quiet:
            print(f'{setup.describe()} is up to date')
        return
    with CheckoutLock() as lock:
        started = time.monotonic()
        setup = Setup(options, lock)  # somebody else may have worked while this one waited
        plan = Plan(setup)
        if plan.pending() != []:
            plan.run()
            elapsed = format_seconds(time.monotonic() - started)
            print(f'{setup.describe()} is ready, {elapsed}')


def stop(number: int, frame: object) -> None:
    """Turn a signal into an exception, so that children are ended as well."""
    raise SystemExit(128 + number)


def main() -> int:
    """Entry point."""
    options = parse()
    if os.name != 'posix':
        print('error: Linux or macOS is needed; on Windows, use WSL', file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    try:
        set_up(options)
    except (SetupError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nstopped; the same command goes on from here', file=sys.stderr)
        return 130
    return 0
