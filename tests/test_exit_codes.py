"""What scripts can rely on: the exit code of each ending, and one message without a traceback."""

import argparse

import pytest

from tinyvim_mm.commands.options import CfgOptions, number
from tinyvim_mm.commands.run import TRACEBACK_VARIABLE, run_command
from tinyvim_mm.core.environment import MissingPackageError
from tinyvim_mm.core.errors import (
    TERMINATED,
    CheckpointError,
    ExportMismatchError,
    Interruption,
    PartlyFailedError,
    UsageError,
)

ENDINGS = [
    (UsageError('no'), 2, 'x: error: no'),
    (CheckpointError('no'), 2, 'x: error: no'),
    (MissingPackageError('no'), 2, 'x: error: no'),
    (ExportMismatchError('no'), 1, 'x: error: no'),
    (PartlyFailedError('1 of 3'), 3, 'x: error: 1 of 3'),
    (Interruption('stopped\ngo on'), 130, 'x: stopped\ngo on'),
    (Interruption('stopped', TERMINATED), 143, 'x: stopped'),
    (KeyboardInterrupt(), 130, 'x: interrupted'),
]


def end(error, *argv):
    def work():
        raise error

    with pytest.raises(SystemExit) as caught:
        run_command(argparse.ArgumentParser(prog='x'), lambda: work, argv, needs=())
    assert caught.value.__cause__ is error
    return caught.value.code


@pytest.mark.parametrize(('error', 'code', 'words'), ENDINGS, ids=lambda v: type(v).__name__)
def test_each_ending_has_its_code_and_its_message(error, code, words, capsys, monkeypatch):
    monkeypatch.delenv(TRACEBACK_VARIABLE, raising=False)
    assert end(error) == code
    assert capsys.readouterr().err.startswith(words)


@pytest.mark.parametrize('argv', [['--traceback'], ['--traceb'], []])
def test_the_traceback_is_shown_on_request(argv, capsys, monkeypatch):
    monkeypatch.setenv(TRACEBACK_VARIABLE, '0' if argv else '1')
    assert end(UsageError('no'), *argv) == 2
    error = capsys.readouterr().err
    assert 'Traceback' in error
    assert error.endswith('x: error: no\n')


def test_what_is_unforeseen_is_not_hidden():
    def work():
        raise KeyError('a bug')

    with pytest.raises(KeyError, match='a bug'):
        run_command(argparse.ArgumentParser(prog='x'), lambda: work, [], needs=())


def test_the_option_is_in_the_help_of_parts_of_a_command_too(capsys):
    from tinyvim_mm.commands.analyze import build_parser

    with pytest.raises(SystemExit):
        run_command(build_parser('x'), lambda: None, ['erf', '--help'], needs=())
    assert '--traceback' in capsys.readouterr().out


@pytest.mark.parametrize('text', ['1e400', 'nan', '-inf'])
def test_an_option_is_a_finite_number(text):
    with pytest.raises(argparse.ArgumentTypeError, match='is not a finite number'):
        number(text)


def test_brackets_that_do_not_close(capsys):
    pytest.importorskip('mmengine')
    parser = argparse.ArgumentParser(prog='x')
    parser.add_argument('--set', nargs='+', action=CfgOptions)
    with pytest.raises(SystemExit):
        parser.parse_args(['--set', 'a=[(1,2]'])
    assert 'Imbalanced brackets' in capsys.readouterr().err
