"""What every command does around its work: packages, errors, exit codes."""

import argparse
import inspect
import os
import shlex
import sys
import traceback
from typing import Any, Callable, Mapping, Optional, Sequence

from ..core import environment
from ..core.errors import INTERRUPTED, UsageError
from ..core.signals import terminable

#: Set to 1, does what ``--traceback`` does.
TRACEBACK_VARIABLE = 'TINYVIM_MM_TRACEBACK'


def run_command(
    parser: argparse.ArgumentParser,
    load: Callable[[], Callable[..., Any]],
    argv: Optional[Sequence[str]],
    needs: Sequence[str] = ('torch', 'mmengine'),
) -> Any:
    """Parse the command line and call a function, with errors that a user can read.

    Args:
        parser: Parser of the command; what it parses are keyword arguments of the function.
            It gets ``--traceback``.
        load: Imports the function, which may take a while. If it has an argument
            ``command``, it is told how the user called it.
        argv: Command line without the program; ``None`` takes ``sys.argv``.
        needs: Packages without which nothing works, checked before anything else.

    Returns:
        What the function returns.

    Raises:
        SystemExit: With the ``exit_code`` of the error, after one that the user can
            cure, whose message went to standard error, and after an interruption.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    _let_waiting_threads_sleep()
    _add_traceback_option(parser)
    whole = '--traceback' in argv or os.environ.get(TRACEBACK_VARIABLE, '0') not in ('', '0')
    try:
        if needs and not {'-h', '--help'}.intersection(argv):
            environment.require(*needs, purpose=parser.prog)
            _check_scan_backend()
        settings = vars(parser.parse_args(argv))
        whole |= settings.pop('traceback', False)  # it may be abbreviated
        # Commands that run in one process have no such option.
        os.environ.setdefault('LOCAL_RANK', str(settings.pop('local_rank', 0)))
        function = load()
        if 'command' in inspect.signature(function).parameters:
            settings['command'] = f'{_program(parser.prog)} {shlex.join(argv)}'
        with terminable():
            return function(**settings)
    except (Exception, KeyboardInterrupt) as error:
        ended = isinstance(error, KeyboardInterrupt)  # also by SIGTERM
        code = _exit_code(error) or (INTERRUPTED if ended else None)
        if code is None:
            raise
        if whole:
            traceback.print_exception(error)
        message = (str(error) or 'interrupted') if ended else f'error: {error}'
        print(f'{parser.prog}: {message}', file=sys.stderr)
        raise SystemExit(code) from error


def _exit_code(error: BaseException) -> Optional[int]:
    """Of an error of this project that the user can cure; the others are shown as they are."""
    own = type(error).__module__.startswith(f'{__package__.partition(".")[0]}.')
    return getattr(error, 'exit_code', None) if own else None


def _check_scan_backend() -> None:
    """Refuse a name of no backend in the environment at once: the first scan may come late."""
    if 'TINYVIM_SSM_BACKEND' in os.environ:
        from ..ops.backends import check_environment

        try:
            check_environment()
        except ValueError as error:
            raise UsageError(str(error)) from error


def _add_traceback_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--traceback``, also to the parsers of what a command is divided into."""
    parser.add_argument(
        '--traceback',
        action='store_true',
        # A parser below would otherwise set it back.
        default=argparse.SUPPRESS,
        help='show where in the program an error arose, too; also by '
        f'{TRACEBACK_VARIABLE}=1 in the environment',
    )
    for action in parser._actions:  # argparse has no other way to them
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                _add_traceback_option(part)


def run_one_of(
    commands: Mapping[str, str],
    load: Callable[[str], Callable[[Sequence[str], str], Optional[int]]],
    parser: argparse.ArgumentParser,
    argv: Optional[Sequence[str]],
) -> int:
    """Run the command that the command line names first.

    Args:
        commands: Names, and what the help says of each.
        load: Gives the ``main`` of one; it is called with the rest of the command line and
            how the user called it.
        parser: Of what stands before the name.
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Returns:
        The exit code.

    Raises:
        SystemExit: After ``--help``, or with code 2 after an error in the command line.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0] in commands:
        return load(argv[0])(argv[1:], f'{parser.prog} {argv[0]}') or 0
    names = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    for name, text in commands.items():
        names.add_parser(name, help=text, add_help=False)
    parser.parse_args(argv)
    return 0


def _program(prog: str) -> str:
    """How a user calls it: tools are files, subcommands are found on the PATH."""
    return f'python {prog}' if prog.endswith('.py') else prog


def _let_waiting_threads_sleep() -> None:
    # OpenMP threads spin for milliseconds at each barrier. On a machine whose
    # cores are all wanted by something else that multiplies the time of a step
    # (measured on 2 cores: from 3 to over 15 seconds), while spinning briefly
    # costs a few percent where nothing else runs. Has to precede torch.
    if 'OMP_WAIT_POLICY' not in os.environ:
        os.environ.setdefault('GOMP_SPINCOUNT', '1000')
