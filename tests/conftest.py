"""Shared set-up of the tests."""

import os

import pytest
import torch

# Triton's interpreter runs kernels on a CPU; it has to be chosen before anything imports Triton.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

from tinyvim_mm import compat

compat.apply()  # before any test module imports a toolbox


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def pytest_collection_modifyitems(config, items):
    _leave_out_slow_triton(config, items)
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason='needs a CUDA device; run `make test-gpu` on a machine with one')
    for item in items:
        if 'gpu' in item.keywords:
            item.add_marker(skip)


def _leave_out_slow_triton(config, items):
    """Test files that run every backend are too long for Triton's interpreter."""

    def too_slow(item):
        parameters = getattr(item, 'callspec', None)
        return (
            parameters is not None
            and parameters.params.get('backend') == 'triton'
            and item.path.name != 'test_triton.py'
        )

    left_out = [item for item in items if too_slow(item)]
    if left_out and os.environ.get('TRITON_INTERPRET') == '1':
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not too_slow(item)]
