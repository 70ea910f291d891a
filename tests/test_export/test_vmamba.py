"""VMamba and EfficientVMamba in ONNX Runtime."""

import pytest
import tiny_export as tiny
import torch

pytest.importorskip('onnx', reason='the export to ONNX needs onnx')
pytest.importorskip('onnxruntime', reason='ONNX files run in onnxruntime')

from tinyvim_mm.export.check import load_runner, relative_error
from tinyvim_mm.export.networks import ExportedNetwork
from tinyvim_mm.export.writer import custom_operators, write_onnx
from tinyvim_mm.models import EfficientVMamba, NormClassifier, VMamba

ARCH = {'embed_dims': (8, 16, 24, 32), 'depths': (1, 1, 1, 1)}
both = pytest.mark.parametrize('cls', [VMamba, EfficientVMamba])


def check(network, path, *sizes, **options):
    images = [torch.randn(*size) for size in sizes]
    write_onnx(network, images[0], path, **options)
    assert custom_operators(path) == ()
    run = load_runner(path)
    for image in images:
        with torch.no_grad():
            expected = network(image)
        for actual, wanted in zip(run(image.numpy()), expected, strict=True):
            assert relative_error(actual, wanted.numpy()) < 1e-4


@both
def test_a_classifier(cls, tmp_path):
    model = torch.nn.Module()
    model.backbone = cls(ARCH, out_indices=(-1,), normalize_outputs=False)
    model.head = NormClassifier(32, 7)
    network = ExportedNetwork(tiny.randomize(model), 'classifier', 'logits').eval()
    check(network, tmp_path / 'c.onnx', (1, 3, 64, 64), (3, 3, 64, 64))


@both
def test_feature_maps_of_sizes_that_the_example_has_not(cls, tmp_path):
    network = ExportedNetwork(tiny.randomize(cls(ARCH)), 'backbone', 'features').eval()
    sizes = (1, 3, 64, 96), (1, 3, 100, 76), (2, 3, 64, 64)
    check(network, tmp_path / 'b.onnx', *sizes, dynamic_size=True)
