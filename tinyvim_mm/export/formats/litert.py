"""LiteRT, formerly TensorFlow Lite."""

from pathlib import Path
from typing import Mapping, Optional

from ..metadata import MetadataError
from .base import Format, Run, as_json, converting, fixed_batch, from_json

#: Of the file's metadata buffers, ours.
_METADATA = 'tinyvim_mm'
_SIGNATURE = 'serving_default'


class LiteRt(Format):
    """A file for one batch; the metadata are a buffer in it."""

    name = 'litert'
    suffix = '.tflite'
    converters = ('litert_torch', 'ai_edge_litert')
    runtimes = ('ai_edge_litert',)

    def write(self, network, images, path, meta, opset=None) -> None:
        from ..writer import INPUT, exportable

        cure = 'See docs/deploy.md for the versions of litert-torch and torch that go together'
        with exportable(network), converting('litert_torch', cure):
            import litert_torch

            model = litert_torch.convert(network, sample_kwargs={INPUT: images})
            model.export(str(path))
            _add_metadata(path, as_json(meta))

    def load(self, path: Path, threads: Optional[int] = None) -> Run:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
        entry, exits = interpreter.get_input_details()[0], interpreter.get_output_details()

        def run(images):
            interpreter.set_tensor(entry['index'], images)
            interpreter.invoke()
            return [interpreter.get_tensor(leave['index']) for leave in exits]

        return fixed_batch(run, int(entry['shape'][0]))

    def properties(self, path: Path) -> Mapping[str, str]:
        model = _read(path)
        for entry in model.metadata or ():
            if entry.name == _METADATA.encode():
                return from_json(bytes(model.buffers[entry.buffer].data).decode(), path)
        raise MetadataError(f'{path} has no metadata {_METADATA}; export the checkpoint again')


def _read(path: Path):
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(path.read_bytes())


def _add_metadata(path: Path, text: str) -> None:
    import flatbuffers
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    model = _read(path)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(text.encode(), np.uint8)
    entry.name, entry.buffer = _METADATA, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    builder = flatbuffers.Builder(path.stat().st_size + len(text))
    builder.Finish(model.Pack(builder), file_identifier=b'TFL3')
    path.write_bytes(bytes(builder.Output()))
