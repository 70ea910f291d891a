"""The operators on torchvision compute what the compiled ones of mmcv compute.

``pytest -rP tests/test_mmcv_ext/test_operators.py -k table`` prints the differences.
"""

import re

import numpy as np
import pytest
from test_mmcv_ext.forms import RECORDED, arrays, difference, need_compiled, need_torchvision, run
from test_mmcv_ext.operator_cases import CASES

#: Of sums of up to some hundred products of standard-normal numbers, in another order.
LIMIT = 3e-5
#: Beside the recorded inputs, where there are both forms.
SEEDS = ['1', '2', '3']


@pytest.fixture(scope='module')
def stand_in(tmp_path_factory):
    need_torchvision()
    return run('torchvision', 'operator_cases', tmp_path_factory.mktemp('operators'))


@pytest.fixture(scope='module')
def recorded():
    return arrays(RECORDED / 'operators.npz')


def compare(case, actual, expected):
    parts = [name for name in expected if name.startswith(f'{case}/')]
    assert parts
    for name in parts:
        if actual[name].dtype == np.int64:  # which boxes remain
            np.testing.assert_array_equal(actual[name], expected[name], name)
        assert difference(actual[name], expected[name]) < LIMIT, name


@pytest.mark.parametrize('case', CASES)
def test_as_recorded(case, stand_in, recorded):
    compare(case, stand_in, recorded)


def test_every_case_is_recorded(recorded):
    assert {name.partition('/')[0] for name in recorded} == set(CASES)


@pytest.mark.slow
@pytest.mark.parametrize('seed', SEEDS)
def test_as_compiled_here(seed, tmp_path):
    need_compiled()
    actual = run('torchvision', 'operator_cases', tmp_path, seed)
    expected = run('compiled', 'operator_cases', tmp_path, seed)
    for case in CASES:
        compare(case, actual, expected)


def test_table(stand_in, recorded):
    """Prints the largest differences to the compiled operators, of values and gradients."""
    print(f'{"operator":32} {"value":>9} {"gradient":>9}')
    for case in CASES:
        worst = {'value': 0.0, 'gradient': None}
        for name, expected in recorded.items():
            if name.startswith(f'{case}/'):
                kind = 'gradient' if re.search('/grad_', name) else 'value'
                worst[kind] = max(worst[kind] or 0.0, difference(stand_in[name], expected))
        gradient = 'none' if worst['gradient'] is None else f'{worst["gradient"]:.1e}'
        print(f'{case:32} {worst["value"]:9.1e} {gradient:>9}')
        assert max(worst['value'], worst['gradient'] or 0) < LIMIT
