"""OpenVINO's intermediate representation: an ``.xml`` with the weights in a ``.bin``."""

from pathlib import Path
from typing import List, Mapping, Optional

from ..metadata import PREFIX, MetadataError
from .base import Format, Run, converting

#: Of the entries in the file's ``rt_info``.
_SECTION = PREFIX.rstrip('.')


class OpenVino(Format):
    """A file for any batch, made of a ``torch.export`` program.

    Not of ONNX, although that may take any size: there the CPU plugin of OpenVINO 2026.4 gets the
    shape of the scan's first product wrong, of one map with the weights of several paths.
    """

    name = 'openvino'
    suffix = '.xml'
    converters = runtimes = ('openvino',)
    any_batch = True
    one_size = 'torch.export specializes the scan to it'

    def write(self, network, images, path, meta, opset=None) -> None:
        import openvino
        import torch

        from ..writer import INPUT, dynamic_shape, exportable

        cure = 'See docs/deploy.md for the versions of openvino and torch that go together'
        with exportable(network), converting('openvino.convert_model', cure):
            names = network.output_names(len(network(images)))
            program = torch.export.export(
                network, (images,), dynamic_shapes=(dynamic_shape(False),)
            )
            model = openvino.convert_model(program)
            model.inputs[0].get_tensor().set_names({INPUT})
            for output, name in zip(model.outputs, names, strict=True):
                output.get_tensor().set_names({name})
            # The converter takes height and width for free, too.
            model.reshape({INPUT: [-1, *images.shape[1:]]})
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
