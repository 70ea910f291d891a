"""Every format of exported files: written, read back, run where its runtime runs here."""

import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tiny_export as tiny
from torch import nn

from tinyvim_mm.core.environment import MissingPackageError, package_state
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.export import check, networks
from tinyvim_mm.export.formats import FORMATS, format_of
from tinyvim_mm.export.metadata import Metadata, MetadataError
from tinyvim_mm.models.layers import SS2D

SIZE = (64, 64)
META = Metadata(
    config='tiny',
    arch='tiny',
    part='classifier',
    output='logits',
    input_size=SIZE,
    dynamic_size=False,
    max_pixels=SIZE[0] * SIZE[1],
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    resize=(72,),
    interpolation='bicubic',
    divisor=32,
    classes=('"quoted" & <marked>', 'größer', *'cdefg'),
    weights='random',
    version='0.1.0',
)
#: All of them are optional.
PACKAGES = sorted({name for form in FORMATS.values() for name in form.converters + form.runtimes})
#: Their converters refuse the scan while it has six axes.
FEW_AXES = ('litert', 'coreml', 'ncnn')


def some(wanted=lambda form: True):
    """Names of formats, for tests in which a network with the scan is written."""
    refused = pytest.mark.xfail(raises=UsageError, reason='the scan has more axes than it takes')
    return [
        pytest.param(name, marks=refused if name in FEW_AXES else ())
        for name, form in FORMATS.items()
        if wanted(form)
    ]


def usable(name):
    form = FORMATS[name]
    for package in dict.fromkeys(form.converters + form.runtimes):
        pytest.importorskip(package, reason=f'--format {name} needs {package}')
    return form


def written(form, folder, network, meta=META):
    path = folder / f'network{form.suffix}'
    images = networks.random_images(2 if form.any_batch else 1, meta.input_size)
    form.write(network, images, path, meta)
    return path


@pytest.mark.parametrize('name', some())
def test_a_classifier(name, tmp_path):
    form, network = usable(name), tiny.classifier()
    path = written(form, tmp_path, network)
    assert all(file.stat().st_size for file in form.files(path))
    assert Metadata.from_props(form.properties(path), str(path)) == META
    form.inspect(path)
    if not form.obstacle():
        check.compare(form.load(path, 1), {'PyTorch': network}, META, 1, form.any_batch)


@pytest.mark.parametrize('name', some())
def test_a_backbone_with_several_outputs(name, tmp_path):
    form, network = usable(name), tiny.backbone()
    meta = replace(META, part='backbone', output='features', input_size=(64, 96))
    path = written(form, tmp_path, network, meta)
    if not form.obstacle():
        check.compare(form.load(path, 1), {'PyTorch': network}, meta, 1, form.any_batch)


@pytest.mark.parametrize('name', FORMATS)
def test_a_classifier_without_the_scan(name, tmp_path):
    form, network = usable(name), tiny.classifier()
    for parent in list(network.modules()):
        for child, layer in list(parent.named_children()):
            if isinstance(layer, SS2D):
                setattr(parent, child, nn.Identity())
    path = written(form, tmp_path, network)
    if not form.obstacle():
        check.compare(form.load(path, 1), {'PyTorch': network}, META, 1, form.any_batch)


@pytest.mark.parametrize('name', some(lambda form: not form.one_size))
def test_any_size(name, tmp_path):
    form, network = usable(name), tiny.classifier()
    meta = replace(META, dynamic_size=True)
    path = written(form, tmp_path, network, meta)
    check.compare(form.load(path, 1), {'PyTorch': network}, meta, 1)


@pytest.mark.parametrize('name', some(lambda form: not form.any_batch))
def test_another_batch_is_refused(name, tmp_path):
    form = usable(name)
    if form.obstacle():
        pytest.skip(form.obstacle())
    run = form.load(written(form, tmp_path, tiny.classifier()))
    with pytest.raises(ValueError, match='takes 1 images at a time, got 2'):
        run(np.zeros((2, 3, *SIZE), np.float32))


def test_what_trtexec_is_told(tmp_path):
    form = usable('tensorrt')
    path = written(form, tmp_path, tiny.classifier(), replace(META, dynamic_size=True))
    script = path.with_suffix('.trtexec.sh').read_text()
    assert '--onnx=network.onnx --saveEngine=network.engine' in script
    assert '--minShapes=images:1x3x32x32 --optShapes=images:1x3x64x64' in script
    assert '--maxShapes=images:8x3x128x128' in script
    assert subprocess.run(['sh', '-n', path.with_suffix('.trtexec.sh')]).returncode == 0


def test_layers_that_ncnn_does_not_know(tmp_path):
    from tinyvim_mm.export.formats.ncnn import _check_layers

    path = tmp_path / 'x.param'
    path.write_text('7767517\n2 2\nInput in0 0 1 in0\ntorch.index_select s 1 1 in0 out0 dim=0\n')
    with pytest.raises(UsageError, match=r'no layers of ncnn for torch\.index_select'):
        _check_layers(path)


def test_ncnn_without_its_metadata(tmp_path):
    with pytest.raises(MetadataError, match=r'x\.param has no x\.json beside it'):
        FORMATS['ncnn'].properties(tmp_path / 'x.param')


@pytest.mark.parametrize('package', PACKAGES)
def test_a_missing_package_is_named_with_its_cure(package, monkeypatch):
    from tinyvim_mm.core import environment

    found = find_spec
    monkeypatch.setattr(
        environment.importlib.util,
        'find_spec',
        lambda name: None if name == package else found(name),
    )
    cure = package_state(package).cure
    assert cure == f"pip install '{package.replace('_', '-')}'"
    forms = [form for form in FORMATS.values() if package in form.converters]
    assert forms or package == 'onnxruntime'
    for form in forms:
        with pytest.raises(MissingPackageError) as caught:
            form.require()
        assert f'--format {form.name} needs packages' in str(caught.value)
        assert f'{package}: not installed\n    cure: {cure}' in str(caught.value)


def test_the_suffix_chooses_the_format():
    assert {path: format_of(Path(path)).name for path in ('a.onnx', 'b.xml', 'c.int8.onnx')} == {
        'a.onnx': 'onnx',
        'b.xml': 'openvino',
        'c.int8.onnx': 'onnx',
    }
    assert format_of(Path('a.onnx'), 'tensorrt').name == 'tensorrt'
    with pytest.raises(UsageError, match=r'--out a\.onnx must end in \.mlpackage'):
        format_of(Path('a.onnx'), 'coreml')
    with pytest.raises(UsageError, match=r'must end in \.onnx, .* or \.param'):
        format_of(Path('a.pth'))


def test_names_and_suffixes_are_known_without_torch():
    code = (
        'import sys\n'
        'from tinyvim_mm.export.formats import FORMATS\n'
        f'print(sorted({{"torch", "numpy", *{PACKAGES}}} & set(sys.modules)))\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr
