"""Shared set-up of the tests."""

import os

import pytest
import torch
from hypothesis import settings

# Triton's interpreter runs kernels on a CPU; it has to be chosen before anything imports Triton.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

from tinyvim_mm.core import compat

compat.apply()  # before any test module imports a toolbox

# The same cases each time, so that a failure is of the change that shows it.
settings.register_profile('repeatable', derandomize=True, print_blob=True)
settings.load_profile('repeatable')  # `--hypothesis-profile` comes later, and prevails
#: `make fuzz`: as many cases as a night allows, others each time.
cases = int(os.environ.get('FUZZ_CASES', 10_000))
settings.register_profile('thorough', max_examples=cases, print_blob=True)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason='needs a CUDA device; run `make test-gpu` on a machine with one')
    for item in items:
        if 'gpu' in item.keywords:
            item.add_marker(skip)
