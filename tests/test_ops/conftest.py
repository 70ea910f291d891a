"""Backends as fixtures of the scan's tests."""

import pytest
import scan_cases

from tinyvim_mm.ops.backends import mamba_ssm


@pytest.fixture
def subject(request, monkeypatch):
    """The backend that a test is parametrised with, ready to be named."""
    scan_cases.prepare(request.param, monkeypatch)
    yield request.param
    mamba_ssm._load.cache_clear()
