"""A new backbone takes its file and a line in the catalogue: everything else finds it there."""

import copy
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

import tinyvim_mm
from tinyvim_mm.conversion.layouts import convert, find_backbone
from tinyvim_mm.core.errors import CheckpointError
from tinyvim_mm.models import reparameterize
from tinyvim_mm.models.catalogue import BACKBONES, build_network, find_network, network_names

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _line_in_the_catalogue(monkeypatch):
    monkeypatch.setitem(BACKBONES, 'toynet', 'toy_backbone:ToyNet')


def lively(model):
    """With statistics and factors that make a difference."""
    torch.manual_seed(0)
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
        torch.nn.init.normal_(norm.running_mean)
    return model


def test_the_catalogue_builds_it():
    assert network_names()[-2:] == ['toynet_a', 'toynet_b']
    assert build_network('toynet_b').describe() == 'ToyNet-B'
    cls, arch = find_network('toynet_a')
    assert [tuple(out.shape) for out in cls(arch)(IMAGES)] == [(2, 8, 16, 24), (2, 16, 8, 12)]


def test_it_has_a_public_name_and_is_registered():
    cls = find_network('toynet_a')[0]
    assert tinyvim_mm.ToyNet is tinyvim_mm.models.ToyNet is cls
    assert 'ToyNet' in dir(tinyvim_mm)
    assert 'ToyNet' in tinyvim_mm.__all__
    for scope in ('mmengine', 'mmdet'):
        model = MODELS.build({'_scope_': scope, 'type': 'tinyvim_mm.ToyNet', 'arch': 'b'})
        assert isinstance(model, cls)


def test_weights_are_saved_loaded_and_recognized(tmp_path):
    source, path = lively(build_network('toynet_a')), str(tmp_path / 'a.pth')
    torch.save({'state_dict': source.state_dict()}, path)
    model = build_network('toynet_a', init_cfg=dict(type='Pretrained', checkpoint=path))
    model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key
    with pytest.raises(CheckpointError, match=r"ToyNet-B\. It holds ToyNet-A: build with arch='a'"):
        build_network('toynet_b').load_pretrained(path)
    with pytest.raises(CheckpointError, match='It holds no VMamba'):
        build_network('vmamba_t').load_pretrained(path)
    assert find_backbone(source.state_dict(), path) is type(source)
    conversion = convert(source.state_dict(), path)
    assert (conversion.arch, conversion.backbone) == ('a', type(source))


def test_parts_freeze():
    model = build_network('toynet_a', frozen_stages=1).train()
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names == {n for n, _ in model.named_parameters() if n.startswith(('stages.1', 'out_'))}
    model = build_network('toynet_a', frozen_stages=2).train()
    assert not any(p.requires_grad for p in model.parameters())
    before = copy.deepcopy(model.state_dict())
    model(IMAGES)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_checkpointing_changes_nothing():
    results = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = build_network('toynet_a', with_cp=with_cp).train()
        sum(out.square().sum() for out in model(IMAGES)).backward()
        results.append([*(p.grad for p in model.parameters()), *model.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@torch.no_grad()
def test_the_deployed_form_computes_the_same():
    model = lively(build_network('toynet_a', normalize_outputs=False)).eval()
    deployed = reparameterize(model)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in deployed.modules())
    for out, expected in zip(deployed(IMAGES), model(IMAGES), strict=True):
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(CheckpointError, match='holds ToyNet reparameterized'):
        model.load_state_dict(deployed.state_dict())


def config(arch='a'):
    """Of a classifier, as a recipe for mmpretrain has it."""
    backbone = dict(type='tinyvim_mm.ToyNet', arch=arch, out_indices=(1,), normalize_outputs=False)
    head = dict(type='tinyvim_mm.DistillationHead', in_channels=16, num_classes=5)
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='ImageClassifier', backbone=backbone, head=head),
        )
    )


@torch.no_grad()
def test_it_is_exported_for_its_own_size(tmp_path):
    for package in ('mmpretrain.models', 'onnx', 'onnxruntime'):
        pytest.importorskip(package)
    from tinyvim_mm.export import networks, writer
    from tinyvim_mm.export.runtime import make_session

    network, _ = networks.build(config(), 'classifier', 'logits')
    lively(network)
    size = networks.input_size('mmpretrain', network.model)
    assert size == (96, 96)
    images = networks.random_images(2, size)
    path = tmp_path / 'toy.onnx'
    writer.write_onnx(network, images, path, dynamic_size=False, opset=writer.OPSET)
    (logits,) = make_session(path, 1).run(None, {'images': images.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), network(images)[0], rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_timm_has_an_entry_of_it(tmp_path):
    pytest.importorskip('torchvision' if 'timm' in sys.modules else 'timm')
    from tinyvim_mm.integrations import timm as bridge

    bridge.register_networks()
    import timm

    assert timm.list_models('toynet*') == ['toynet_a', 'toynet_b']
    model = lively(timm.create_model('toynet_a', num_classes=4)).eval()
    assert timm.data.resolve_model_data_config(model)['input_size'] == (3, 96, 96)
    assert model(IMAGES).shape == (2, 4)
    path = tmp_path / 'toy.pth'
    torch.save(model.state_dict(), path)
    features = timm.create_model('toynet_a', features_only=True, checkpoint_path=path).eval()
    assert features.feature_info.reduction() == [4, 8]
    expected = model.backbone(IMAGES)
    for out, truth in zip(features(IMAGES), expected, strict=True):
        torch.testing.assert_close(out, truth)


def test_reproduction_measures_it():
    from tinyvim_mm.measuring.cost import count
    from tinyvim_mm.reproduction import networks
    from tinyvim_mm.reproduction.tables import TABLES

    table = TABLES['backbones-224x224']
    (row,) = (row for row in table.rows if row.name == 'ToyNet-A')
    model, error = networks.build(table, row)
    assert error < 1e-4
    cost = count(model, (64, 96))
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.macs > 0
