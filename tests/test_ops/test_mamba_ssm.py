"""The mamba-ssm adapter with a stand-in for the package, which runs on CUDA devices only."""

import importlib.util

import pytest
import torch
from scan_cases import SCAN_TENSORS, scan_arguments, stand_in_for_mamba_ssm

from tinyvim_mm.ops import available_backends, selective_scan
from tinyvim_mm.ops.backends import mamba_ssm

CUDA = torch.device('cuda')


@pytest.fixture(autouse=True)
def _nothing_remembered():
    mamba_ssm._load.cache_clear()
    yield
    mamba_ssm._load.cache_clear()


@pytest.fixture
def calls(monkeypatch):
    """Install a stand-in; the list of its calls."""
    return stand_in_for_mamba_ssm(monkeypatch)


def test_what_it_is_called_with(calls):
    arguments = scan_arguments(9, N=3, dim=6, groups=2)
    selective_scan(**arguments, delta_softplus=True, backend='mamba_ssm')
    *tensors, softplus = calls[0]
    for name, tensor in zip(SCAN_TENSORS, tensors, strict=True):
        assert torch.equal(tensor, arguments[name]), name
    assert softplus is True


def test_what_it_is_called_with_without_options(calls):
    a = scan_arguments(9)
    selective_scan(*(a[name] for name in SCAN_TENSORS[:5]), backend='mamba_ssm')
    assert calls[0][5:] == (None, None, False)


def test_last_state_carries_no_gradient(calls):
    a = scan_arguments(9)
    inputs = [a[n].requires_grad_() for n in ('u', 'delta', 'A', 'B', 'C')]
    y, state = selective_scan(*inputs, return_last_state=True, backend='mamba_ssm')
    _, expected = selective_scan(*inputs, return_last_state=True, backend='reference')
    torch.testing.assert_close(state, expected.detach())
    assert y.requires_grad
    assert not state.requires_grad


def test_too_many_states_are_refused(calls):
    with pytest.raises(ValueError, match='at most N = 256 states, A has 257'):
        selective_scan(*list(scan_arguments(1, N=257).values())[:5], backend='mamba_ssm')


def test_empty_sequences(calls):
    u, *others = list(scan_arguments(0).values())[:5]
    y, state = selective_scan(u, *others, return_last_state=True, backend='mamba_ssm')
    assert y.shape == (2, 4, 0)
    assert state.count_nonzero() == 0
    assert not calls


def test_obstacles_name_the_cure(monkeypatch):
    assert 'computes on CUDA devices' in str(available_backends('cpu')['mamba_ssm'])
    assert "choose 'parallel'" in str(mamba_ssm.obstacle(CUDA, torch.float64))

    find_spec = importlib.util.find_spec
    present = set()
    monkeypatch.setattr(
        mamba_ssm.importlib.util,
        'find_spec',
        lambda name: present if name in present else None if 's' in name else find_spec(name),
    )
    assert 'mamba-ssm is not installed: pip install' in str(mamba_ssm.obstacle(CUDA, torch.float32))

    present.add('mamba_ssm')
    mamba_ssm._load.cache_clear()
    obstacle = mamba_ssm.obstacle(CUDA, torch.float32)
    assert 'without its CUDA module selective_scan_cuda' in obstacle.reason
    assert 'MAMBA_FORCE_BUILD=TRUE pip install' in obstacle.cure

    present.add('selective_scan_cuda')
    for error, message in (
        (ModuleNotFoundError('no', name='einops'), 'needs the package einops: pip install einops'),
        (ImportError('undefined symbol: x'), r'does not import (ImportError: undefined symbol: x)'),
    ):

        def broken(name, error=error):
            raise error

        monkeypatch.setattr(mamba_ssm.importlib, 'import_module', broken)
        mamba_ssm._load.cache_clear()
        assert message in str(mamba_ssm.obstacle(CUDA, torch.float32))
