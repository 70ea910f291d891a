"""The one command, the tools beside it, and that nothing below them knows a command line."""

import ast
import importlib
import inspect
import subprocess
import sys

import pytest

from tinyvim_mm.commands import COMMANDS
from tinyvim_mm.core.paths import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / 'tinyvim_mm'
TOOLS = PROJECT_ROOT / 'tools'
#: Tools that are programs of their own: they prepare data, or start environments.
PROGRAMS = {'_start', 'make_sample_ade', 'make_sample_imagenet', 'test_matrix'}
CALLS = sorted(path.stem for path in TOOLS.glob('*.py') if path.stem not in PROGRAMS)
WITHOUT_TORCH = """
import sys
for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'):
    sys.modules[name] = None
from tinyvim_mm.__main__ import main
for command in sys.argv[1:]:
    try:
        main([*command.split(), '--help'])
    except SystemExit as end:
        assert not end.code, command
"""


def run(*argv):
    return subprocess.run([sys.executable, *argv], capture_output=True, text=True, check=False)


def test_help_lists_every_command():
    done = run('-m', 'tinyvim_mm', '--help')
    assert done.returncode == 0, done.stderr
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith('    ')]
    assert set(COMMANDS) <= set(listed)


def test_every_command_has_a_help_that_needs_no_torch():
    commands = [*COMMANDS, 'benchmark scan', 'check resume', 'check determinism', 'check soak']
    done = run('-c', WITHOUT_TORCH, *commands)
    assert done.returncode == 0, done.stderr
    for command in commands:
        assert f'usage: tinyvim-mm {command} ' in done.stdout


def test_help_of_the_networks_whose_latency_is_measured():
    pytest.importorskip('mmengine')
    done = run('-m', 'tinyvim_mm', 'benchmark', 'latency', '--help')
    assert 'usage: tinyvim-mm benchmark latency ' in done.stdout, done.stderr
    assert 'mobilemamba_t2' in done.stdout


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['trian'], "invalid choice: 'trian'"),
        (['benchmark'], 'the following arguments are required: COMMAND'),
        (['check', 'nothing'], "invalid choice: 'nothing'"),
    ],
)
def test_a_command_that_there_is_not(argv, words, capsys):
    from tinyvim_mm.__main__ import main

    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize('name', CALLS)
def test_a_tool_is_three_lines_that_call_a_command(name):
    lines = [line for line in (TOOLS / f'{name}.py').read_text().splitlines() if line]
    assert len(lines) == 3
    documentation, start, call = ast.parse('\n'.join(lines)).body
    assert isinstance(documentation.value, ast.Constant)
    assert ast.unparse(start) == 'from _start import start'
    caller, command, *_ = call.value.args
    assert ast.unparse(caller) == '__name__'  # what a tool spawns must not run it again
    assert command.value in COMMANDS


@pytest.mark.parametrize('name', CALLS)
def test_a_tool_is_called_by_its_own_name(name):
    done = run(str(TOOLS / f'{name}.py'), '--help')
    assert done.stdout.startswith(f'usage: tools/{name}.py '), done.stderr


#: Parsers with the functions whose arguments they parse.
PARSERS = {
    'train.build_parser': 'training.train',
    'test.build_parser': 'training.evaluate',
    'demo.build_parser': 'inference.predict',
    'export.build_parser': 'export.export',
    'reproduce.build_parser': 'reproduction.reproduce',
    'convert.build_parser': 'conversion.convert_checkpoint',
    'publish.build_parser': 'recipes.publish',
    'collect.build_parser': 'records.collect',
    'cost.build_parser': 'records.estimate_cost',
    'benchmark.scan_parser': 'benchmarks.time_scan',
    'benchmark.backends_parser': 'benchmarks.time_backends',
    'benchmark.latency_parser': 'benchmarks.time_latency',
    'scores.build_parser': 'scores.score',
    'check.resume_parser': 'reliability.check_resume',
    'check.determinism_parser': 'reliability.check_determinism',
}


@pytest.mark.parametrize(('parser', 'function'), PARSERS.items())
def test_options_are_the_arguments_of_the_function_with_the_same_defaults(parser, function):
    pytest.importorskip('mmengine')
    module, name = parser.split('.')
    build = getattr(importlib.import_module(f'tinyvim_mm.commands.{module}'), name)
    package, name = function.split('.')
    function = getattr(importlib.import_module(f'tinyvim_mm.{package}'), name)
    arguments = inspect.signature(function).parameters
    options = {action.dest: action for action in build(prog='x')._actions if action.dest != 'help'}
    assert {*options} - {'local_rank'} == {*arguments} - {'command'}
    for name, option in options.items():
        default = getattr(arguments.get(name), 'default', option.default)
        if default is not inspect.Parameter.empty:
            assert option.default == default or [*option.default] == [*default], name


def test_options_of_an_analysis_are_arguments_of_the_function():
    pytest.importorskip('mmengine')
    from tinyvim_mm.analysis import analyze
    from tinyvim_mm.commands.analyze import build_parser

    arguments = {*inspect.signature(analyze).parameters} - {'command'}
    options = vars(build_parser().parse_args(['erf', 'picture.jpg']))
    assert {*options} == arguments
    assert {*vars(build_parser().parse_args(['spectrum', 'x.jpg']))} <= arguments


def test_nothing_below_the_commands_parses_a_command_line():
    above = {PACKAGE / 'commands', PACKAGE / '__main__.py'}
    above.add(PACKAGE / 'weights' / 'files.py')  # the releases' checkpoints hold parsed arguments
    for path in sorted(PACKAGE.rglob('*.py')):
        if above.intersection([path, *path.parents]):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert 'argparse' not in names, path
