"""Run the tests in clean environments, and write which of them work.

Each environment is a clone with a virtual environment of its own in --folder. A
second run goes on with what is there; --fresh starts anew.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Dict, List, Optional, Tuple

ROOT = Path(__file__).resolve().parents[1]


SCAN = ('tests/test_ops',)
NETWORK = (*SCAN, 'tests/test_models', 'tests/test_optim', 'tests/test_convert.py')
TOOLBOXES = (
    *NETWORK,
    'tests/test_package.py',
    'tests/test_toolboxes.py',
    'tests/test_train_end_to_end.py',
)
TOOLS_OF_TESTS = ('pytest', 'hypothesis', 'setuptools<81', 'wheel', 'ninja')
MARKERS = ('<!-- test matrix -->', '<!-- end -->')


@dataclass(frozen=True)
class Entry:
    """An environment.

    Attributes:
        name: Of its folder.
        python: Version of the interpreter.
        tests: What pytest runs.
        stack: Family of OpenMMLab packages, set up by ``make env``.
        packages: What pip installs instead of a stack.
        variables: Of the process environment, while building and testing.
    """

    name: str
    python: str
    tests: Tuple[str, ...]
    stack: Optional[str] = None
    packages: Tuple[str, ...] = ()
    variables: Dict[str, str] = field(default_factory=dict)


ENTRIES = (
    Entry('onedl', '3.11', TOOLBOXES, stack='onedl'),
    Entry('openmmlab', '3.11', TOOLBOXES, stack='openmmlab'),
    Entry('onedl-python3.10', '3.10', TOOLBOXES, stack='onedl'),
    Entry('onedl-python3.12', '3.12', TOOLBOXES, stack='onedl'),
    Entry('mmengine-only', '3.11', NETWORK, packages=('torch==2.13.0', 'onedl-mmengine')),
    Entry('torch-only', '3.11', SCAN, packages=('torch==2.13.0', 'numpy')),
    Entry(
        'no-compiled-scan',
        '3.11',
        NETWORK,
        packages=('torch==2.13.0', 'onedl-mmengine'),
        variables={'TINYVIM_EXTENSION': 'off'},
    ),
    Entry('oldest-torch', '3.10', SCAN, packages=('torch==2.1.2', 'numpy<2')),
    Entry('torch-2.4', '3.11', NETWORK, packages=('torch==2.4.1', 'numpy<2', 'onedl-mmengine')),
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
        '--fill', metavar='PAGE', help=f'write the table between {MARKERS[0]} and {MARKERS[1]}'
    )
    args = parser.parse_args()
    out = Path(args.out)
    results = json.loads(out.read_text(encoding='utf-8')) if out.is_file() else {}
    for entry in ENTRIES:
        if args.only and entry.name not in args.only:
            continue
        results[entry.name] = run(entry, Path(args.folder).resolve(), args.fresh)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
        print(table({entry.name: results[entry.name]}), flush=True)
    if args.fill:
        fill(Path(args.fill), table(results))
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
        'tests': list(entry.tests),
        **dict.fromkeys(('passed', 'failed', 'skipped', 'seconds'), 0),
        'versions': {},
        'error': '',
    }
    try:
        python = prepare(entry, home, fresh)
        result['versions'] = versions(python)
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
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ['no output']
        raise MatrixError(f'{name} failed: {last[0][:200]}')


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


def test(entry: Entry, home: Path, python: Path) -> Dict[str, object]:
    """Run the tests and count."""
    report = home / 'matrix.xml'
    report.unlink(missing_ok=True)
    start = time.monotonic()
    with (home / 'matrix.log').open('w', encoding='utf-8') as log:
        subprocess.run(
            [str(python), '-m', 'pytest', '-m', 'not gpu', f'--junitxml={report}', *entry.tests],
            cwd=home,
            env={**os.environ, **entry.variables},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if not report.is_file():
        raise MatrixError(f'pytest did not run; see {home / "matrix.log"}')
    suites = ElementTree.parse(report).getroot().iter('testsuite')
    counts = {key: 0 for key in ('tests', 'failures', 'errors', 'skipped')}
    for suite in suites:
        for key in counts:
            counts[key] += int(suite.get(key, 0))
    failed = counts['failures'] + counts['errors']
    return {
        'passed': counts['tests'] - failed - counts['skipped'],
        'failed': failed,
        'skipped': counts['skipped'],
        'seconds': round(time.monotonic() - start),
    }


test.__test__ = False  # no test of pytest's


def table(results: Dict[str, Dict[str, object]]) -> str:
    """Results as Markdown."""
    lines = [
        '| environment | Python | packages | passed | failed | skipped | date |',
        '|---|---|---|---|---|---|---|',
    ]
    for name, result in results.items():
        packages = ', '.join(f'{key} {value}' for key, value in result['versions'].items())
        if result['error']:
            lines.append(
                f'| {name} | {result["python"]} | {packages} | not run: {result["error"]} | | | '
                f'{result["date"]} |'
            )
            continue
        counts = ' | '.join(str(result[key]) for key in ('passed', 'failed', 'skipped'))
        lines.append(f'| {name} | {result["python"]} | {packages} | {counts} | {result["date"]} |')
    return '\n'.join(lines)


def fill(page: Path, text: str) -> None:
    """Replace what stands between the markers of a page."""
    content = page.read_text(encoding='utf-8')
    start, _, rest = content.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not end:
        raise SystemExit(f'{page} has no {MARKERS[0]} with an {MARKERS[1]} after it')
    page.write_text(f'{start}{MARKERS[0]}\n{text}\n{end}{after}', encoding='utf-8')


if __name__ == '__main__':
    main()
