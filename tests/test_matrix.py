"""The table of environments in which the tests were run (tools/test_matrix.py)."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tinyvim_mm.core.paths import PROJECT_ROOT

REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="test_good"/>
<testcase classname="tests.test_a" name="test_wrong"><failure message="assert 0"/></testcase>
<testcase classname="" name="tests.test_b"><error message="collection failure"/></testcase>
<testcase classname="tests.test_a" name="test_c"><skipped message="no GPU">a.py:1</skipped>
</testcase>
<testcase classname="" name="tests.test_d"><skipped message="collection skipped">\
('/x/d.py', 7, "Skipped: could not import 'mmcv'")</skipped></testcase>
</testsuite></testsuites>"""
RESULT = {
    'date': '2026-01-02',
    'python': '3.11',
    'system': 'Linux x86_64',
    'tests': 'scan',
    'passed': 7,
    'failed': 1,
    'skipped': 2,
    'failures': ['tests.test_a.test_wrong'],
    'skips': {'no GPU': 2},
    'compiled': True,
    'versions': {
        'numpy': '2.0',
        'onedl-mmengine': '0.10.12',
        'onedl-mmdetection': '3.5.1',
        'torch': '2.13.0+cpu',
    },
    'error': '',
}


@pytest.fixture
def matrix(monkeypatch):
    path = PROJECT_ROOT / 'tools' / 'test_matrix.py'
    spec = importlib.util.spec_from_file_location('matrix_tool', path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_report_is_counted_with_names_and_reasons(matrix, tmp_path):
    report = tmp_path / 'report.xml'
    report.write_text(REPORT)
    assert matrix.read_report(report) == {
        'passed': 1,
        'failed': 2,
        'skipped': 2,
        'failures': ['tests.test_a.test_wrong', 'tests.test_b'],
        'skips': {'no GPU': 1, "could not import 'mmcv'": 1},
    }


def test_row_names_the_family_once(matrix):
    header, _, row, *_ = matrix.table({'onedl': RESULT}).splitlines()
    assert row == (
        '| onedl | 3.11 | 2.13.0+cpu, numpy 2.0 | onedl: mmengine 0.10.12, mmdet 3.5.1 | yes '
        '| scan | 7 | 1 | 2 | 2026-01-02 |'
    )
    assert header.count('|') == row.count('|')


def test_environment_that_cannot_be_made_is_a_row_that_says_so(matrix, tmp_path, monkeypatch):
    def refuse(version):
        raise matrix.MatrixError(f'there is no Python {version} on this machine')

    monkeypatch.setattr(matrix, 'find_python', refuse)
    result = matrix.run(matrix.ENTRIES[0], tmp_path, fresh=False)
    assert result['error'] == 'there is no Python 3.11 on this machine'
    assert 'not run: there is no Python 3.11' in matrix.table({'onedl': result})


def test_command_that_fails_is_named_with_its_last_words(matrix, tmp_path):
    command = ['bash', '-c', 'echo error: no disk >&2; echo "make: *** [env] Error 1" >&2; exit 2']
    with pytest.raises(matrix.MatrixError) as error:
        matrix.call(command, tmp_path, 'make env')
    assert str(error.value) == 'make env failed: error: no disk'


def test_pytest_that_does_not_run_is_no_success(matrix, tmp_path, monkeypatch):
    entry = matrix.Entry('here', '3.11', 'none')
    monkeypatch.setitem(matrix.TESTS, 'none', ('no_such_test.py',))
    with pytest.raises(matrix.MatrixError) as error:
        matrix.test(entry, tmp_path, Path(sys.executable))
    assert str(error.value) == 'pytest ended with 4; see here/matrix.log'


def test_page_keeps_what_stands_around_the_table(matrix, tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('above\n<!-- test matrix -->\nold\n<!-- end -->\nbelow\n')
    matrix.fill(page, 'new')
    assert page.read_text() == 'above\n<!-- test matrix -->\nnew\n<!-- end -->\nbelow\n'
    page.write_text('no markers')
    with pytest.raises(SystemExit, match='has no marker <!-- test matrix -->'):
        matrix.fill(page, 'new')


def test_every_environment_has_tests_that_exist(matrix):
    assert len({entry.name for entry in matrix.ENTRIES}) == len(matrix.ENTRIES)
    for entry in matrix.ENTRIES:
        for path in matrix.TESTS[entry.tests]:
            assert (PROJECT_ROOT / path).exists()
