"""The floors of docs/architecture.md: no import goes upward, and the check would notice one."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Imports that once closed circles: where, and what is imported there.
BACK_EDGES = [
    ('visualization/activations.py', 'from ..analysis import activations'),
    ('records/scalars.py', 'from ..training import hooks'),
    ('weights/files.py', 'from ..integrations import timm'),
    ('inference/exported.py', 'from ..commands import demo'),
]


def lint(folder):
    code = 'from importlinter.cli import lint_imports_command; lint_imports_command()'
    return subprocess.run(
        [sys.executable, '-c', code, '--no-cache', '--no-logo'],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp('copy')
    ignored = shutil.ignore_patterns('.mim', '__pycache__', '*.so')
    shutil.copytree(ROOT / 'tinyvim_mm', folder / 'tinyvim_mm', ignore=ignored)
    shutil.copy(ROOT / '.importlinter', folder)
    return folder


def test_no_import_goes_upward(copy):
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert re.search(r'\d+ kept, 0 broken', done.stdout)


@pytest.mark.parametrize(('file', 'statement'), BACK_EDGES, ids=[edge[0] for edge in BACK_EDGES])
def test_an_import_upward_is_noticed_inside_functions_too(file, statement, copy):
    path = copy / 'tinyvim_mm' / file
    before = path.read_text(encoding='utf-8')
    path.write_text(f'{before}\n\ndef late():\n    {statement}\n', encoding='utf-8')
    try:
        done = lint(copy)
    finally:
        path.write_text(before, encoding='utf-8')
    assert done.returncode == 1
    module = 'tinyvim_mm.' + file.removesuffix('.py').replace('/', '.')
    assert f'{module} -> ' in done.stdout


def test_the_page_names_every_floor():
    page = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
    folders = {path.parent.name for path in (ROOT / 'tinyvim_mm').glob('*/__init__.py')}
    assert folders
    assert folders == set(re.findall(r'\["<b>(\w+)</b>', page))
