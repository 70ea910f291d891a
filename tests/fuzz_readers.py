"""Every reader of what others wrote, with a sound example, and what it may raise.

The promise (``docs/reliability.md``): a reader loads, or raises a named error of the project;
it never writes a file, starts a program or opens a connection, and never takes much memory.
"""

import contextlib
import copy
import functools
import io
import json
import pickle
import struct
import warnings
from pathlib import Path

import torch
from PIL import Image

from tinyvim_mm.core.errors import CheckpointError, UsageError
from tinyvim_mm.finetune.checks import check_data
from tinyvim_mm.finetune.dataset import Faults
from tinyvim_mm.finetune.layouts import coco, folders, label_maps, voc, yolo
from tinyvim_mm.inference.sources import UnreadableError, read_frames
from tinyvim_mm.records.run_record import RunRecord, read_record
from tinyvim_mm.records.scalars import read_scalars, read_validations
from tinyvim_mm.weights.files import load_file

CLASSES = b'cat\ndog\n'


def picture(kind='PNG', size=(16, 12), mode='RGB'):
    stream = io.BytesIO()
    Image.new(mode, size, 1).save(stream, kind)
    return stream.getvalue()


def checkpoint(**options):
    stream = io.BytesIO()
    state = {'a.weight': torch.arange(6.0).reshape(2, 3), 'a.bias': torch.ones(2).half()}
    torch.save({'state_dict': state, 'meta': {'epoch': 3}}, stream, **options)
    return stream.getvalue()


def safetensors():
    header = {
        'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]},
        'b': {'dtype': 'BF16', 'shape': [2, 2], 'data_offsets': [8, 16]},
        '__metadata__': {'key_order': '["a", "b"]', 'epoch': '[1]'},
    }
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text)) + text + bytes(16)


def coco_json():
    content = {
        'images': [{'id': n, 'file_name': f'{n}.png', 'width': 16, 'height': 12} for n in (1, 2)],
        'annotations': [
            {
                'id': n,
                'image_id': 1 + n % 2,
                'category_id': n,
                'bbox': [1, 1, 5, 5],
                'area': 25,
                'iscrowd': 0,
                'segmentation': [[1, 1, 6, 1, 6, 6]],
            }
            for n in (1, 2)
        ],
        'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog', 'supercategory': 'x'}],
    }
    return json.dumps(content).encode()


VOC = b"""<annotation><filename>1.png</filename><size><width>16</width><height>12</height></size>
<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>6</xmax><ymax>6</ymax></bndbox>
</object></annotation>"""


def onnx_file(**changes):
    import onnx
    from onnx import TensorProto, helper

    from tinyvim_mm.export.metadata import PREFIX

    images = helper.make_tensor_value_info('images', TensorProto.FLOAT, [1, 3, 12, 16])
    scores = helper.make_tensor_value_info('scores', TensorProto.FLOAT, [1, 3])
    node = helper.make_node('ReduceMean', ['images', 'axes'], ['scores'], keepdims=0)
    axes = helper.make_tensor('axes', TensorProto.INT64, [2], [2, 3])
    graph = helper.make_graph([node], 'g', [images], [scores], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=8)
    for name, value in {**METADATA, **changes}.items():
        model.metadata_props.add(key=PREFIX + name, value=json.dumps(value))
    return onnx._serialize(model) if hasattr(onnx, '_serialize') else model.SerializeToString()


METADATA = dict(
    config='x',
    arch='s',
    part='classifier',
    output='logits',
    input_size=[12, 16],
    dynamic_size=False,
    max_pixels=192,
    mean=[0.0, 0.0, 0.0],
    std=[1.0, 1.0, 1.0],
    resize=[16],
    interpolation='bicubic',
    divisor=1,
    classes=['a', 'b', 'c'],
    weights='random',
    version='1',
    format=1,
)


# -- readers: of a folder with the files of the example ------------------------------------


def read_checkpoint(folder):
    (file,) = folder.iterdir()
    load_file(str(file))


def read_metadata(folder):
    from tinyvim_mm.export.metadata import PREFIX, Metadata

    # A text for each field, as a file has them.
    text = (folder / 'props.json').read_text('utf-8', 'replace')
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    fields = content if isinstance(content, dict) else METADATA
    props = {PREFIX + str(name): json.dumps(value) for name, value in fields.items()}
    if content is None:
        props[PREFIX + sorted(METADATA)[len(text) % len(METADATA)]] = text
    Metadata.from_props(props, 'x.onnx')


def read_onnx(folder):
    import numpy as np

    from tinyvim_mm.inference.exported import ExportedPredictor

    ExportedPredictor(str(folder / 'x.onnx')).predict(np.zeros((12, 16, 3), np.uint8))


def read_layout(layout, folder, task='detect'):
    assert layout.NAME
    faults = Faults()
    if not layout.matches(folder):
        return
    data = layout.read(folder.resolve(), None, faults)
    check_data(data, faults, [255], strict=False)
    for one in data.pictures:
        for file in filter(None, (one.file, one.label_map)):
            assert file.resolve().is_relative_to(folder.resolve()), f'{file} is outside'


def read_training_coco(folder):
    from tinyvim_mm.training.data.coco import check_annotations, check_content
    from tinyvim_mm.training.data.text import read_json

    content = read_json(folder / 'instances.json')
    check_content(content, 'x.json')
    check_annotations(content, 'x.json')


@functools.lru_cache(1)
def config():
    from tinyvim_mm.recipes.configs import find_config, load_config

    return load_config(find_config('tinyvim_s_300e_in1k'))


def read_options(folder):
    from tinyvim_mm.commands.options import config_parser
    from tinyvim_mm.recipes.configs import merge_options

    lines = (folder / 'options.txt').read_text('utf-8', 'replace').split('\n')
    lines = [line for line in lines if line and not line.startswith('-')]
    if not lines:
        return
    with contextlib.redirect_stderr(io.StringIO()):
        options = config_parser('x', '').parse_args(['config', '--cfg-options', *lines]).options
    merge_options(copy.deepcopy(config()), options, 'x')


def read_picture(folder):
    (file,) = folder.iterdir()
    for _ in read_frames(file):
        pass


def read_scalar_file(folder):
    read_scalars(folder / 'scalars.json')
    read_validations(folder / 'scalars.json')


def record():
    one = RunRecord(config='x', versions={'torch': '2'}, validations=[{'step': 1, 'acc': 0.5}])
    return json.dumps(vars(one)).encode()


_TRAINED = b'{"loss": 1.5, "lr": 0.1, "step": 1}\n{"acc": 0.5, "step": 1}\n'
_PICTURES = {f'images/{n}.png': picture(size=(16, 12)) for n in (1, 2)}
_MAPS = {f'masks/{n}.png': picture(size=(16, 12), mode='L') for n in (1, 2)}
_CURABLE = (UsageError,)
_OPTIONS = b'optim_wrapper.optimizer.lr=0.1\ntrain_cfg.max_epochs=5\nmodel.backbone.arch=s\n'


def _layout(layout):
    return functools.partial(read_layout, layout)


def _exported_errors():
    from tinyvim_mm.export.metadata import ExportedFileError

    return (UsageError, UnreadableError, ExportedFileError)


#: Name: reader, what it may raise, files of a sound example, which of them are changed.
READERS = {
    'zip': (read_checkpoint, (CheckpointError,), {'x.pth': checkpoint()}),
    'legacy': (
        read_checkpoint,
        (CheckpointError,),
        {'x.pth': checkpoint(_use_new_zipfile_serialization=False)},
    ),
    'pickle': (read_checkpoint, (CheckpointError,), {'x.pth': pickle.dumps({'a': [1, 'b']})}),
    'safetensors': (read_checkpoint, (CheckpointError,), {'x.safetensors': safetensors()}),
    'metadata': (read_metadata, _exported_errors, {'props.json': json.dumps(METADATA).encode()}),
    'onnx': (read_onnx, _exported_errors, onnx_file),
    'coco': (_layout(coco), _CURABLE, {'annotations/train.json': coco_json(), **_PICTURES}),
    'voc': (
        _layout(voc),
        _CURABLE,
        {
            'Annotations/1.xml': VOC,
            'ImageSets/Main/train.txt': b'1\n',
            'JPEGImages/1.png': picture(),
        },
    ),
    'yolo': (
        _layout(yolo),
        _CURABLE,
        {'labels/1.txt': b'0 0.5 0.5 0.2 0.2\n', 'data.yaml': b'names: [cat, dog]\n', **_PICTURES},
    ),
    'label maps': (_layout(label_maps), _CURABLE, {'classes.txt': CLASSES, **_MAPS, **_PICTURES}),
    'folders': (_layout(folders), _CURABLE, {'cat/1.png': picture(), 'dog/1.png': picture('BMP')}),
    'training coco': (read_training_coco, _CURABLE, {'instances.json': coco_json()}),
    'options': (read_options, (UsageError, SystemExit), {'options.txt': _OPTIONS}),
    **{
        f'picture {kind}': (read_picture, (UnreadableError,), {f'x.{end}': picture(kind)})
        for kind, end in {
            'PNG': 'png',
            'JPEG': 'jpg',
            'BMP': 'bmp',
            'WEBP': 'webp',
            'TIFF': 'tif',
            'PPM': 'ppm',
        }.items()
    },
    'run.json': (lambda folder: read_record(folder), (ValueError,), {'run.json': record()}),
    'scalars': (read_scalar_file, (ValueError,), {'scalars.json': _TRAINED}),
}


def example(name):
    """Files of a sound example."""
    files = READERS[name][2]
    return {'x.onnx': files()} if callable(files) else files


def warm_up(name, folder: Path):
    """Read once, with all imports and caches that this takes."""
    if name == 'options':  # a name that is not known is looked for in all toolboxes
        (folder / 'options.txt').write_text('model.bakbone.arch=s')
    read(name, folder)


def read(name, folder: Path):
    """Read; any exception that is not allowed is a fault of the reader."""
    function, errors, _ = READERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with contextlib.suppress(*(errors() if callable(errors) else errors)):
            function(folder)
