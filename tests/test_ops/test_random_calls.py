"""Thousands of random calls, valid and invalid, in one process."""

import children
import pytest
from scan_cases import needs_library

#: Of the quick test and of the thorough one; each number is a call, always the same.
QUICK, THOROUGH = 500, 10_000


def check(seeds, *backends):
    found = children.outcomes('random_calls.py', list(seeds), 3600, *backends)
    wrong = [f'call {seed}: {text}' for seed, text in found.items() if text]
    assert len(found) == len(seeds), f'{len(seeds) - len(found)} calls were not made'
    assert not wrong, f'{len(wrong)} of {len(seeds)} calls:\n' + '\n\n'.join(wrong[:20])


@needs_library
def test_random_calls():
    check(range(QUICK))


@pytest.mark.slow
@needs_library
def test_many_random_calls():
    check(range(QUICK, QUICK + THOROUGH))


@pytest.mark.slow
@needs_library
@pytest.mark.parametrize('backend', ['emulation', 'triton'])
def test_random_calls_of_the_other_kernels(backend):
    check(range(1_000_000, 1_002_000), backend)
