"""The mamba-ssm adapter with a stand-in for the package, which runs on CUDA devices only."""

import importlib.machinery
import sys
from types import ModuleType

import pytest
import torch
from scan_cases import compare, scan_arguments, ss2d_arguments

from tinyvim_mm.ops import available_backends, selective_scan, ss2d
from tinyvim_mm.ops.backends import BACKENDS, Backend, mamba_ssm, reference

CUDA = torch.device('cuda')
INTERFACE = 'mamba_ssm.ops.selective_scan_interface'


@pytest.fixture(autouse=True)
def _nothing_remembered():
    mamba_ssm._load.cache_clear()
    yield
    mamba_ssm._load.cache_clear()


def install(monkeypatch, *names, **attributes):
    """Put modules in the place of installed ones; the last one gets the attributes."""
    for name in names:
        module = ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    vars(module).update(attributes)


@pytest.fixture
def calls(monkeypatch):
    """Install a stand-in with mamba-ssm's signature and requirements; the list of its calls."""
    seen = []

    def selective_scan_fn(
        u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
        return_last_state=False,
    ):  # fmt: skip
        seen.append((u, delta, A, B, C, D, delta_bias, delta_softplus))
        assert z is None
        assert all(t is None or t.dtype == torch.float32 for t in seen[-1][:-1])
        assert B.dim() == C.dim() == 4
        y, state = reference.selective_scan(u, delta, A, B, C, D, delta_bias, delta_softplus)
        return (y, state) if return_last_state else y

    install(monkeypatch, 'selective_scan_cuda')
    names = ('mamba_ssm', 'mamba_ssm.ops', INTERFACE)
    install(monkeypatch, *names, selective_scan_fn=selective_scan_fn)
    works = Backend('mamba_ssm', mamba_ssm.selective_scan, mamba_ssm.ss2d)
    monkeypatch.setitem(BACKENDS, 'mamba_ssm', works)
    return seen


def test_selective_scan_with_all_options(calls):
    arguments = scan_arguments(9, N=3, dim=6, groups=2)
    compare(selective_scan, arguments.values(), 'mamba_ssm', 1e-5, delta_softplus=True)
    *tensors, softplus = calls[0]
    names = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')
    for name, tensor in zip(names, tensors, strict=True):
        assert torch.equal(tensor, arguments[name]), name
    assert softplus is True


def test_selective_scan_without_options(calls):
    a = scan_arguments(9)
    compare(selective_scan, [a[n] for n in ('u', 'delta', 'A', 'B', 'C')], 'mamba_ssm', 1e-5)
    assert calls[0][5:] == (None, None, False)


def test_ss2d_in_half_precision(calls):
    compare(ss2d, [a.bfloat16() for a in ss2d_arguments(3, 4, N=2)], 'mamba_ssm', 2e-2)


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
    assert 'computes on CUDA devices' in available_backends('cpu')['mamba_ssm']
    assert "choose 'parallel'" in mamba_ssm.obstacle(CUDA, torch.float64)

    find_spec = importlib.util.find_spec
    present = set()
    monkeypatch.setattr(
        mamba_ssm.importlib.util,
        'find_spec',
        lambda name: present if name in present else None if 's' in name else find_spec(name),
    )
    assert 'mamba-ssm is not installed: pip install' in mamba_ssm.obstacle(CUDA, torch.float32)

    present.add('mamba_ssm')
    mamba_ssm._load.cache_clear()
    obstacle = mamba_ssm.obstacle(CUDA, torch.float32)
    assert 'without its CUDA module selective_scan_cuda' in obstacle
    assert 'MAMBA_FORCE_BUILD=TRUE pip install' in obstacle

    present.add('selective_scan_cuda')
    for error, message in (
        (ModuleNotFoundError('no', name='einops'), 'needs the package einops: pip install einops'),
        (ImportError('undefined symbol: x'), r'does not import (ImportError: undefined symbol: x)'),
    ):

        def broken(name, error=error):
            raise error

        monkeypatch.setattr(mamba_ssm.importlib, 'import_module', broken)
        mamba_ssm._load.cache_clear()
        assert message in mamba_ssm.obstacle(CUDA, torch.float32)
