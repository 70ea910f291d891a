"""ONNX files that are damaged, foreign, or say of themselves what is not so."""

import json
import os

import numpy as np
import pytest

from tinyvim_mm.commands.demo import main
from tinyvim_mm.export.metadata import PREFIX, ExportedFileError, Metadata, MetadataError
from tinyvim_mm.export.runtime import Runner

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

HONEST = Metadata(
    config='tinyvim_s_300e_in1k',
    arch='s',
    part='classifier',
    output='logits',
    input_size=(8, 8),
    dynamic_size=False,
    max_pixels=64,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    resize=(8,),
    interpolation='bilinear',
    divisor=1,
    classes=('a', 'b', 'c'),
    weights='random',
    version='0.1.0',
)


def write(file, metadata=None, location=None, rank=4):
    """A network that gives the mean of each channel, as a classifier of three classes."""
    helper = onnx.helper
    initializers, output = [], 'mean'
    nodes = [helper.make_node('ReduceMean', ['x'], ['mean'], axes=[2, 3][: rank - 2], keepdims=0)]
    if location:
        weight = onnx.TensorProto(name='w', data_type=1, dims=[3], data_location=1)
        for key, value in (('location', location), ('length', '12')):
            entry = weight.external_data.add()
            entry.key, entry.value = key, value
        initializers.append(weight)
        nodes.append(helper.make_node('Add', ['mean', 'w'], ['y']))
        output = 'y'
    graph = helper.make_graph(
        nodes,
        'g',
        [helper.make_tensor_value_info('x', 1, [1, 3, 8, 8][:rank])],
        [helper.make_tensor_value_info(output, 1, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    props = HONEST.to_props() if metadata is None else metadata
    onnx.helper.set_model_props(model, dict(props))
    file.write_bytes(model.SerializeToString())
    return file


def changed(**values):
    return {**HONEST.to_props(), **{PREFIX + key: text for key, text in values.items()}}


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'x.onnx'


def refused(file):
    with pytest.raises(ExportedFileError) as caught:
        Runner(file)
    message = str(caught.value)
    assert message.startswith(str(file))
    assert len(message.splitlines()) == 1
    return message


def test_an_honest_file_runs(file):
    classes = Runner(write(file)).classify(np.full((8, 8, 3), (9, 0, 4), np.uint8), top=3)
    assert [name for _, name, _ in classes] == ['a', 'c', 'b']


@pytest.mark.parametrize('content', [b'', b'junk', bytes(range(256)) * 4, 'cut off'])
def test_what_is_no_onnx_file(content, file):
    if content == 'cut off':
        content = write(file).read_bytes()[:90]
    file.write_bytes(content)
    assert 'is damaged, or no file that ONNX Runtime can load' in refused(file)


@pytest.mark.parametrize('location', ['../w.bin', 'ABSOLUTE', 'link.bin', 'gone.bin', '/dev/zero'])
def test_weights_outside_of_the_folder_are_not_read(location, tmp_path):
    (tmp_path / 'w.bin').write_bytes(np.ones(3, np.float32).tobytes())
    folder = tmp_path / 'folder'
    folder.mkdir()
    (folder / 'link.bin').symlink_to(tmp_path / 'w.bin')
    where = str(tmp_path / 'w.bin') if location == 'ABSOLUTE' else location
    assert 'External data path' in refused(write(folder / 'x.onnx', location=where))


def test_a_name_that_is_not_utf8(tmp_path):
    with pytest.raises(ExportedFileError, match='is a name that ONNX Runtime cannot take'):
        Runner(write(tmp_path / os.fsdecode(b'\xfc.onnx')))


def test_a_file_that_takes_no_images(file):
    assert 'takes no images, but: x tensor(float) [1, 3, 8]' in refused(write(file, rank=3))


@pytest.mark.parametrize(
    ('key', 'text'),
    [
        ('classes', '[1, 2]'),
        ('classes', '{"a": 1}'),
        ('config', '5'),
        ('divisor', '0'),
        ('dynamic_size', '1'),
        ('format', '"1"'),
        ('input_size', '[8]'),
        ('input_size', '[8, 1e9]'),
        ('input_size', '[8, 10000000]'),
        ('input_size', '[-8, 8]'),
        ('interpolation', '"nearest-exact"'),
        ('max_pixels', '-1'),
        ('mask_stride', '0'),
        ('mask_threshold', '2'),
        ('masks', '"frame"'),
        ('mean', '[0, 0]'),
        ('mean', '[0, 0, NaN]'),
        ('output', 'null'),
        ('padding', '[1]'),
        ('part', '["classifier"]'),
        ('preprocess', '1'),
        ('resize', '[0]'),
        ('resize', '[8, 8, 8]'),
        ('std', '[1, 1, 0]'),
        ('std', '[1, 1, true]'),
    ],
)
def test_metadata_that_cannot_be(key, text, file):
    message = refused(write(file, changed(**{key: text})))
    assert f'{PREFIX}{key} is ' in message


@pytest.mark.parametrize('text', ['', '{', '[' * 100_000])
def test_metadata_that_is_no_json(text, file):
    assert f'{PREFIX}mean is not JSON' in refused(write(file, changed(mean=text)))


def test_metadata_of_nobody_and_of_the_future(file):
    assert 'was not written by tools/export.py' in refused(write(file, {'a': 'b'}))
    with pytest.raises(MetadataError, match='later than this one'):
        Runner(write(file, changed(format='9', version=json.dumps('9' * 500))))


def test_a_size_that_the_graph_has_not(file):
    runner = Runner(write(file, changed(input_size='[4, 4]')))
    with pytest.raises(ExportedFileError, match=r'x\.onnx cannot be run'):
        runner.classify(np.zeros((8, 8, 3), np.uint8))


def test_the_demo_says_so_in_one_line(tmp_path, file, capsys):
    cv2 = pytest.importorskip('cv2')
    picture = tmp_path / 'a.png'
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
    for metadata in (changed(std='[0, 0, 0]'), changed(part='"segmentor"', output='"labels"')):
        write(file, metadata)
        with pytest.raises(SystemExit) as caught:
            main([str(picture), '--checkpoint', str(file), '--out', str(tmp_path / 'out')])
        assert caught.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
