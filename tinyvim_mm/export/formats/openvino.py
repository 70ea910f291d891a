"""OpenVINO's intermediate representation: an ``.xml`` with the weights in a ``.bin``."""

import tempfile
from pathlib import Path
from typing import List, Mapping, Optional

from ..metadata import PREFIX, MetadataError
from .base import Format, Run, converting

#: Of the entries in the file's ``rt_info``.
_SECTION = PREFIX.rstrip('.')


class OpenVino(Format):
    """Made of ONNX, so that height and width may be dynamic as there."""

    name = 'openvino'
    suffix = '.xml'
    converters = ('onnx', 'openvino')
    runtimes = ('openvino',)
    any_batch = True
    one_size = ''

    def write(self, network, images, path, meta, opset=None) -> None:
        import openvino

        from .. import writer

        with tempfile.TemporaryDirectory() as folder:
            onnx = Path(folder) / 'network.onnx'
            writer.write_onnx(network, images, onnx, meta.dynamic_size, opset or writer.OPSET)
            with converting('openvino.convert_model', 'Another --opset may help'):
                model = openvino.convert_model(str(onnx))
                for name, value in meta.to_props().items():
                    model.set_rt_info(value, [_SECTION, name[len(PREFIX) :]])
                openvino.save_model(model, str(path), compress_to_fp16=False)

    def load(self, path: Path, threads: Optional[int] = None) -> Run:
        import openvino

        # Float32: where a processor has bfloat16, OpenVINO computes with it by default.
        options = {'INFERENCE_PRECISION_HINT': 'f32'}
        if threads:
            options['INFERENCE_NUM_THREADS'] = threads
        compiled = openvino.Core().compile_model(str(path), 'CPU', options)
        return lambda images: list(compiled(images).values())

    def properties(self, path: Path) -> Mapping[str, str]:
        import openvino

        model = openvino.Core().read_model(str(path))
        if not model.has_rt_info([_SECTION]):
            raise MetadataError(
                f'{path} has no section {_SECTION} in rt_info; export the checkpoint again'
            )
        names = model.get_rt_info([_SECTION]).astype(dict)
        return {PREFIX + name: model.get_rt_info([_SECTION, name]).astype(str) for name in names}

    def files(self, path: Path) -> List[Path]:
        return [path, path.with_suffix('.bin')]
