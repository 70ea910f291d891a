"""Exported files against the networks that they were made from."""

import numpy as np
import pytest
import tiny_export as tiny
import torch

from tinyvim_mm.export import check, networks, quantization, writer
from tinyvim_mm.export.check import load_runner
from tinyvim_mm.export.pooling import exportable_pooling
from tinyvim_mm.models import reparameterize


def onnx_file(network, tmp_path, size=(64, 96), **options):
    pytest.importorskip('onnx', reason='the export to ONNX needs onnx')
    pytest.importorskip('onnxruntime', reason='ONNX files run in onnxruntime')
    path = tmp_path / 'network.onnx'
    writer.write_onnx(network, networks.random_images(2, size), path, **options)
    return path


def errors(network, path, sizes, batches=(1, 3)):
    run = load_runner(path)
    return [
        check.error_of(network, run, networks.random_images(batch, size))
        for size in sizes
        for batch in batches
    ]


def test_a_backbone_for_one_size_and_any_batch(tmp_path):
    network = tiny.backbone()
    path = onnx_file(network, tmp_path)
    assert max(errors(network, path, [(64, 96)])) < 1e-5
    assert writer.custom_operators(path) == ()


def test_a_backbone_for_any_size(tmp_path):
    network = tiny.backbone()
    path = onnx_file(network, tmp_path, dynamic_size=True)
    assert max(errors(network, path, [(64, 96), (77, 131), (160, 32)])) < 1e-5


@pytest.mark.parametrize('output', ['logits', 'probabilities', 'labels'])
def test_a_deployed_classifier_against_its_training_form(output, tmp_path):
    trained = tiny.classifier(output)
    deployed = networks.ExportedNetwork(reparameterize(trained.model), 'classifier', output).eval()
    path = onnx_file(deployed, tmp_path)
    assert max(errors(trained, path, [(64, 96)])) < 1e-4


def test_a_program_of_torch_export(tmp_path):
    network = tiny.backbone()
    path = tmp_path / 'network.pt2'
    writer.write_program(network, networks.random_images(2, (64, 96)), path)
    assert max(errors(network, path, [(64, 96)])) < 1e-5


def test_a_wrong_file_is_noticed(tmp_path):
    network = tiny.backbone()
    path = onnx_file(network, tmp_path, leave_out_scan=True)
    assert max(errors(network, path, [(64, 96)])) > 1e-3


def test_wrong_labels_are_noticed():
    network = tiny.classifier('labels')
    images = networks.random_images(4, (64, 64))
    wrong = (network(images)[0] + 1) % 7
    assert check.error_of(network, lambda _: [wrong.numpy()], images) > check.TOLERANCE


def test_values_that_are_not_finite_are_noticed():
    with pytest.raises(check.ExportMismatchError, match='not finite'):
        check.relative_error(np.array([np.nan]), np.array([1.0]))


@pytest.mark.parametrize('static', [False, True], ids=['dynamic', 'static'])
def test_eight_bits_are_near(static, tmp_path):
    network = tiny.classifier()
    deployed = networks.ExportedNetwork(reparameterize(network.model), 'classifier', 'logits')
    path = onnx_file(deployed.eval(), tmp_path)
    images = networks.random_images(8, (64, 96))
    calibration = [image[None].numpy() for image in images] if static else None
    quantization.quantize(path, tmp_path / 'int8.onnx', calibration)
    run = load_runner(tmp_path / 'int8.onnx')
    actual, expected = run(images.numpy())[0], network(images)[0].numpy()
    assert 1e-4 < np.linalg.norm(actual - expected) / np.linalg.norm(expected) < 0.3


def test_upsampling_by_factor_follows_the_size():
    mmseg = pytest.importorskip('mmseg.models.utils')
    layer = torch.nn.Sequential(mmseg.Upsample(scale_factor=2, mode='bilinear'))
    images = torch.randn(1, 1, 3, 5)
    expected = layer(images)
    with networks.exportable_upsampling(layer):
        assert torch.equal(layer(images), expected)
        traced = torch.jit.trace(layer, images)
    assert traced(torch.randn(1, 1, 4, 9)).shape == (1, 1, 8, 18)


@pytest.mark.parametrize('size', [(7, 13), (2, 3), (12, 6)])
def test_adaptive_pooling_is_that_of_torch(size):
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    layers = [torch.nn.AdaptiveAvgPool2d(k) for k in (1, 2, 3, 6, (4, 5), (None, 3))]
    expected = [layer(maps) for layer in layers]
    with exportable_pooling(torch.nn.ModuleList(layers)):
        torch.testing.assert_close([layer(maps) for layer in layers], expected)
    assert not any('forward' in vars(layer) for layer in layers)
