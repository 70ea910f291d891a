"""A reparameterized model prepares the weights of its scans once, and never reads old ones."""

import copy

import pytest
import torch
from torch import nn

from tinyvim_mm.models import TinyViM, reparameterize
from tinyvim_mm.models.layers import SS2D

TINY = {'embed_dims': [8, 12, 16, 20], 'depths': [1, 1, 1, 1]}


def scans(model):
    return [module for module in model.modules() if isinstance(module, SS2D)]


@pytest.fixture
def pair():
    torch.manual_seed(0)
    model = TinyViM(TINY).eval()
    for scan in scans(model):
        nn.init.normal_(scan.Ds)
    return model, reparameterize(model)


def features(model):
    with torch.no_grad():
        return model(torch.ones(1, 3, 64, 96))[-1]


def test_reparameterization_prepares(pair):
    model, deployed = pair
    assert all(scan.prepared is None for scan in scans(model))
    assert all(scan.prepared is not None for scan in scans(deployed))
    torch.testing.assert_close(features(deployed), features(model), rtol=1e-4, atol=1e-4)


def test_what_is_loaded_afterwards_counts(pair):
    _, deployed = pair
    other = copy.deepcopy(deployed)
    state = {k: v + 0.1 if k.endswith('.Ds') else v for k, v in deployed.state_dict().items()}
    before = features(deployed)
    other.load_state_dict(state)
    for scan in scans(deployed):
        scan.Ds += 0.1
        scan.prepare()
    assert torch.equal(features(other), features(deployed))
    assert not torch.equal(before, features(deployed))


def test_a_type_of_lower_precision_is_prepared_anew(pair):
    _, deployed = pair
    deployed.to(torch.bfloat16)
    for scan in scans(deployed):
        assert scan.prepared.A.dtype == torch.float32
        assert torch.equal(scan.prepared.bias, scan.dt_projs_bias.float())
