"""The command line: ``python3 tools/setup_env --help``."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

# Python puts the folder itself here; as a package it is found from the one above.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from setup_env.common import CheckoutLock, SetupError  # noqa: E402
from setup_env.interpreter import ensure_supported_python  # noqa: E402
from setup_env.steps import do_all  # noqa: E402
from setup_env.wanted import Wanted  # noqa: E402


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='tools/setup_env', description='Set up the virtual environment .venv.'
    )
    add = parser.add_argument
    add(
        '--device',
        choices=('auto', 'cpu', 'cuda'),
        help='which build of torch; auto: CUDA if nvidia-smi lists a GPU. Default of this and the '
        'next three: what the environment has, else auto, onedl, and what fits the family',
    )
    add('--stack', choices=('onedl', 'openmmlab'), help='family of OpenMMLab packages')
    add('--torch', metavar='VERSION', help='such as 2.13.0; torchvision is chosen to fit')
    add(
        '--mmcv',
        choices=('torchvision', 'compiled'),
        help="whether mmcv's operators stand on torchvision or are compiled, which takes minutes",
    )
    add(
        '--mmcv-wheels',
        metavar='DIR',
        help='folder with compiled wheels of mmcv; one that fits Python and torch is taken',
    )
    add(
        '--torch-index',
        metavar='URL',
        help='package index for torch and torchvision; "pip" for the one that pip is configured '
        'with',
    )
    add(
        '--python',
        metavar='PYTHON',
        help='a command, a path or a version; replaces an environment of another version',
    )
    add('--quiet', action='store_true', help='say nothing if nothing is to be done')
    return parser.parse_args()


def set_up(options: argparse.Namespace) -> None:
    """Bring the environment to what is wanted."""
    ensure_supported_python(options.python)
    wanted = Wanted(options)
    if wanted.is_complete():
        if not options.quiet:
            print(f'{wanted.describe()} is up to date')
        return
    with CheckoutLock.taken():
        started = time.monotonic()
        wanted = Wanted(options)  # somebody else may have worked while this one waited
        if not wanted.is_complete():
            do_all(wanted)
            print(f'{wanted.describe()} is ready, {time.monotonic() - started:.0f} s')


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


if __name__ == '__main__':
    sys.exit(main())
