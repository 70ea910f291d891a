"""Detectors train and predict on torchvision's operators as on mmcv's compiled ones."""

import numpy as np
import pytest
from test_mmcv_ext.detector_cases import DETECTORS
from test_mmcv_ext.forms import RECORDED, arrays, difference, need_torchvision, run

#: Relative to the largest number of an array, of which there are losses, norms and pixels.
LIMIT = 1e-3
PARTS = ['loss', 'gradient', 'prediction']


@pytest.fixture(scope='module', params=['cpu', 'gpu'])
def stand_in(request, tmp_path_factory):
    """Outcomes with the operators that mmdet takes on CPUs, and with those that it takes on GPUs.

    Those of GPUs are computed on the CPU here; mmcv's compiled ones cannot be.
    """
    need_torchvision()
    pytest.importorskip('mmdet')
    return run('torchvision', 'detector_cases', tmp_path_factory.mktemp('d'), request.param)


@pytest.mark.slow
@pytest.mark.parametrize('part', PARTS)
@pytest.mark.parametrize('detector', DETECTORS)
def test_as_recorded(detector, part, stand_in):
    recorded = arrays(RECORDED / 'detectors.npz')
    names = [name for name in recorded if name.startswith(f'{detector}/{part}/')]
    assert names
    worst = 0.0
    for name in names:
        expected = recorded[name]
        scale = np.abs(expected).max(initial=1e-6)
        worst = max(worst, difference(stand_in[name], expected) / scale)
    print(f'{detector}, {part}: largest relative difference {worst:.1e}')
    assert worst < LIMIT
    same = {name for name in stand_in if name.startswith(f'{detector}/{part}/')}
    assert same == set(names)
