"""Run the tests in clean environments, and write which of them work.

Each environment is a clone with a virtual environment of its own in --folder. A
second run goes on with what is there; --fresh starts anew.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Dict, List, Optional, Tuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the package need not be installed

from tinyvim_mm.core import tables  # noqa: E402
from tinyvim_mm.core.environment import STACKS, TORCH  # noqa: E402
from tinyvim_mm.core.errors import UsageError  # noqa: E402
from tinyvim_mm.core.pages import between_markers  # noqa: E402

_SCAN = ('tests/test_ops',)
_NETWORKS = (*_SCAN, 'tests/test_models', 'tests/test_optim', 'tests/test_convert.py')
_TOOLBOXES = (
    *_NETWORKS,
    'tests/test_package.py',
    'tests/test_toolboxes.py',
    'tests/test_train_end_to_end.py',
)
TESTS = {'scan': _SCAN, 'networks': _NETWORKS, 'toolboxes': _TOOLBOXES}
LEGEND = (
    'Tests, each with those before: `scan`, the operator in every form that runs without a GPU; '
    '`networks`, backbones, weights, optimizers, conversion; `toolboxes`, training and testing '
    'with mmdet, mmseg and mmpretrain. Why which tests were skipped: `docs/matrix.json`.'
)
TOOLS_OF_TESTS = ('pytest', 'hypothesis', 'setuptools<81', 'wheel', 'ninja')
COLUMNS = (
    *('environment', 'Python', 'torch', 'OpenMMLab', 'compiled scan', 'tests'),
    *('passed', 'failed', 'skipped', 'date'),
)
MARKER = 'test matrix'


@dataclass(frozen=True)
class Entry:
    """An environment.

    Attributes:
        name: Of its folder.
        python: Version of the interpreter.
        tests: Which of :data:`TESTS` pytest runs.
        stack: Family of OpenMMLab packages, set up by ``make env``.
        packages: What pip installs instead of a stack.
        variables: Of the process environment, while building and testing.
    """

    name: str
    python: str
    tests: str
    stack: Optional[str] = None
    packages: Tuple[str, ...] = ()
    variables: Dict[str, str] = field(default_factory=dict)


ENTRIES = (
    Entry('onedl', '3.11', 'toolboxes', stack='onedl'),
    Entry('openmmlab', '3.11', 'toolboxes', stack='openmmlab'),
    Entry('onedl-python3.10', '3.10', 'toolboxes', stack='onedl'),
    Entry('onedl-python3.12', '3.12', 'toolboxes', stack='onedl'),
    Entry('onedl-python3.13', '3.13', 'toolboxes', stack='onedl'),
    Entry('onedl-python3.14', '3.14', 'toolboxes', stack='onedl'),
    Entry(
        'onedl-compiled',
        '3.11',
        'toolboxes',
        stack='onedl',
        variables={'MMCV': 'compiled', 'TORCH': '2.13.0'},
    ),
    Entry('mmengine-only', '3.11', 'networks', packages=(TORCH, STACKS['onedl']['mmengine'])),
    Entry('torch-only', '3.11', 'scan', packages=(TORCH, 'numpy')),
    Entry(
        'no-compiled-scan',
        '3.11',
        'networks',
        packages=(TORCH, STACKS['onedl']['mmengine']),
        variables={'TINYVIM_EXTENSION': 'off'},
    ),
    Entry(
        'oldest-torch',
        '3.10',
        'networks',
        packages=('torch==2.1.0', 'numpy<2', STACKS['openmmlab']['mmengine']),
    ),
    Entry(
        'torch-2.4',
        '3.11',
        'networks',
        packages=('torch==2.4.1', 'numpy<2', STACKS['onedl']['mmengine']),
    ),
)


class MatrixError(Exception):
    """An environment could not be made; the message is its result."""


def main() -> None:
    """Entry of the tool."""
    parser = argparse.ArgumentParser(prog='tools/test_matrix.py', description=__doc__)
    names = [entry.name for entry in ENTRIES]
    parser.add_argument('--only', nargs='+', choices=names, metavar='NAME', help=', '.join(names))
    parser.add_argument('--folder', default='.cache/matrix', help='for clones and environments')
    parser.add_argument('--fresh', action='store_true', help='remove what earlier runs left there')
    parser.add_argument(
        '--out', default='docs/matrix.json', help='results; those of other environments stay'
    )
    parser.add_argument(
        '--fill', metavar='PAGE', help=f'write the table between <!-- {MARKER} --> and <!-- end -->'
    )
    args = parser.parse_args()
    out = Path(args.out)
    results = json.loads(out.read_text(encoding='utf-8')) if out.is_file() else {}
    for entry in ENTRIES:
        if args.only and entry.name not in args.only:
            continue
        results[entry.name] = run(entry, Path(args.folder).resolve(), args.fresh)
        out.parent.mkdir(parents=True, exist_ok=True)
        results = {each.name: results[each.name] for each in ENTRIES if each.name in results}
        out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
        print(table({entry.name: results[entry.name]}), flush=True)
    if args.fill:
        fill(Path(args.fill), table(results))
    for name, result in results.items():
        for failure in result['failures']:
            print(f'{name}: failed {failure}')
    failed = [name for name, result in results.items() if result['failed'] or result['error']]
    print(f'{len(results) - len(failed)} of {len(results)} environments without a failure')
    raise SystemExit(1 if failed else 0)


def run(entry: Entry, folder: Path, fresh: bool) -> Dict[str, object]:
    """Make an environment, run its tests, and return what came of it."""
    home = folder / entry.name
    print(f'== {entry.name}: Python {entry.python}, in {home}', flush=True)
    result: Dict[str, object] = {
        'date': date.today().isoformat(),
        'python': entry.python,
        'system': f'{platform.system()} {platform.machine()}',
        'tests': entry.tests,
        **dict.fromkeys(('passed', 'failed', 'skipped', 'seconds'), 0),
        'failures': [],
        'skips': {},
        'compiled': False,
        'versions': {},
        'error': '',
    }
    try:
        python = prepare(entry, home, fresh)
        result['versions'] = versions(python)
        result['compiled'] = has_compiled_scan(python, home)
        result.update(test(entry, home, python))
    except MatrixError as error:
        result['error'] = str(error)
    return result


def prepare(entry: Entry, home: Path, fresh: bool) -> Path:
    """Clone the current commit and install; returns the environment's interpreter."""
    interpreter = find_python(entry.python)
    if fresh and home.exists():
        shutil.rmtree(home)
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        call(['git', 'clone', '--quiet', str(ROOT), str(home)], ROOT, 'git clone')
    else:
        call(['git', 'pull', '--quiet', '--ff-only', str(ROOT), 'HEAD'], home, 'git pull')
    python = home / '.venv' / 'bin' / 'python'
    variables = {**os.environ, **entry.variables}
    if entry.stack:
        command = ['make', 'env', f'STACK={entry.stack}', f'PYTHON={interpreter}', 'DEVICE=cpu']
        call(command, home, 'make env', variables)
        return python
    if not python.exists():
        call([interpreter, '-m', 'venv', str(home / '.venv')], home, 'python -m venv')
    pip = [str(python), '-m', 'pip', 'install', '--quiet']
    call([*pip, *TOOLS_OF_TESTS, *entry.packages], home, 'pip install', variables)
    install = [*pip, '--no-deps', '--no-build-isolation', '-e', '.']
    call(install, home, 'pip install -e .', variables)
    return python


def find_python(version: str) -> str:
    """An interpreter of a version: on the PATH, or one of pyenv's."""
    found = shutil.which(f'python{version}')
    candidates = [found] if found else []
    pyenv = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv')) / 'versions'
    candidates += [str(path) for path in sorted(pyenv.glob(f'{version}.*/bin/python'))]
    for candidate in candidates:
        done = subprocess.run([candidate, '--version'], capture_output=True, text=True, check=False)
        if f'Python {version}.' in done.stdout:
            return candidate
    raise MatrixError(f'there is no Python {version} on this machine')


def call(
    command: List[str], folder: Path, name: str, variables: Optional[Dict[str, str]] = None
) -> None:
    """Run a command with its output in a log.

    Raises:
        MatrixError: It failed; the end of its output is the message.
    """
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip()).splitlines()
        telling = [line for line in output if not line.startswith('make: ')]  # "Error 1"
        raise MatrixError(f'{name} failed: {(telling or ["no output"])[-1][:200]}')


def versions(python: Path) -> Dict[str, str]:
    """Versions of what matters in an environment."""
    wanted = r'(torch|numpy|triton|(onedl-)?mm(engine|cv|det|detection|segmentation|pretrain))'
    done = subprocess.run(
        [str(python), '-m', 'pip', 'list', '--format', 'json'],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(done.stdout)
    return {row['name']: row['version'] for row in rows if re.fullmatch(wanted, row['name'])}


def has_compiled_scan(python: Path, home: Path) -> bool:
    """Whether the compiled operator runs in an environment."""
    code = 'import tinyvim_mm.ops as ops; print(ops.available_backends("cpu")["cpu"])'
    done = subprocess.run(
        [str(python), '-c', code], cwd=home, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MatrixError(f'import failed: {done.stderr.strip().splitlines()[-1][:200]}')
    return done.stdout.strip() == 'None'


def test(entry: Entry, home: Path, python: Path) -> Dict[str, object]:
    """Run the tests and count."""
    report = home / 'matrix.xml'
    report.unlink(missing_ok=True)
    command = [str(python), '-m', 'pytest', '-m', 'not gpu', '-rs', f'--junitxml={report}']
    start = time.monotonic()
    with (home / 'matrix.log').open('w', encoding='utf-8') as log:
        done = subprocess.run(
            [*command, *TESTS[entry.tests]],
            cwd=home,
            env={**os.environ, **entry.variables},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    result = read_report(report) if report.is_file() else {'failed': 0}
    if done.returncode and not result['failed']:
        raise MatrixError(f'pytest ended with {done.returncode}; see {entry.name}/matrix.log')
    return {**result, 'seconds': round(time.monotonic() - start)}


test.__test__ = False  # no test of pytest's


def read_report(report: Path) -> Dict[str, object]:
    """Counts of a report of pytest, names of failed tests, and the reasons of skips."""
    counts: Counter = Counter()
    reasons: Counter = Counter()
    failures = []
    for case in ElementTree.parse(report).getroot().iter('testcase'):
        skip = case.find('skipped')
        if case.find('failure') is not None or case.find('error') is not None:
            counts['failed'] += 1
            failures.append(f'{case.get("classname")}.{case.get("name")}'.lstrip('.'))
        elif skip is not None:
            counts['skipped'] += 1
            # Of a whole file, the reason is the end of a tuple's text.
            reason = re.search(r'Skipped: (.*)[\'"]\)$', skip.text or '')
            reasons[reason.group(1) if reason else skip.get('message')] += 1
        else:
            counts['passed'] += 1
    return {
        **{key: counts[key] for key in ('passed', 'failed', 'skipped')},
        'failures': failures,
        'skips': dict(reasons.most_common()),
    }


def table(results: Dict[str, Dict[str, object]]) -> str:
    """Results as Markdown."""
    rows = []
    for name, result in results.items():
        found = result['versions']
        torch = f'{found.get("torch", "–")}, numpy {found.get("numpy", "–")}'
        compiled = 'yes' if result['compiled'] else 'no'
        outcome = [str(result[key]) for key in ('passed', 'failed', 'skipped')]
        if result['error']:
            compiled, outcome = '–', [f'not run: {result["error"]}', '–', '–']
        cells = [name, result['python'], torch, openmmlab(found), compiled, result['tests']]
        rows.append([*cells, *outcome, result['date']])
    systems = sorted({str(result['system']) for result in results.values()})
    lines = tables.markdown(COLUMNS, rows)
    return '\n'.join([*lines, '', f'On {", ".join(systems)}. {LEGEND}'])


def openmmlab(found: Dict[str, str]) -> str:
    """The packages of OpenMMLab among those found, the family's name once."""
    names = {'mmdetection': 'mmdet', 'mmsegmentation': 'mmseg'}
    family = 'onedl: ' if any(name.startswith('onedl-') for name in found) else ''
    packages = [
        f'{names.get(short, short)} {version}'
        for short, version in ((key[6:] if family else key, found[key]) for key in found)
        if short.startswith('mm')
    ]
    return family + ', '.join(packages) if packages else 'none'


def fill(page: Path, text: str) -> None:
    """Replace what stands between the markers of a page."""
    try:
        page.write_text(between_markers(page, MARKER, text), encoding='utf-8')
    except UsageError as error:
        raise SystemExit(str(error)) from error


if __name__ == '__main__':
    main()
