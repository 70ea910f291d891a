"""ONNX of standard operators, for ONNX Runtime."""

from pathlib import Path
from typing import List, Mapping, Optional

from .base import Format, Run


class Onnx(Format):
    """A file for any batch, and any height and width if wanted."""

    name = 'onnx'
    suffix = '.onnx'
    converters = ('onnx',)
    runtimes = ('onnxruntime',)
    any_batch = True
    one_size = ''

    def write(self, network, images, path, meta, opset=None) -> None:
        from .. import writer

        writer.write_onnx(network, images, path, meta.dynamic_size, opset or writer.OPSET)
        writer.add_metadata(path, meta.to_props())

    def load(self, path: Path, threads: Optional[int] = None) -> Run:
        from ..runtime import make_session

        session = make_session(path, threads)
        names = [entry.name for entry in session.get_inputs()]
        return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))

    def properties(self, path: Path) -> Mapping[str, str]:
        import onnx

        model = onnx.load(str(path), load_external_data=False)
        return {entry.key: entry.value for entry in model.metadata_props}

    def inspect(self, path: Path) -> List[str]:
        from ..writer import custom_operators

        found = custom_operators(path)
        return [f'Operators beside ONNX: {", ".join(found)}'] if found else []
