"""ExecuTorch programs, with what XNNPACK can compute left to it."""

from pathlib import Path
from typing import Mapping, Optional

from ..metadata import MetadataError
from .base import Format, Run, as_json, converting, fixed_batch, from_json

#: A method of the program that gives its metadata.
_METADATA = 'tinyvim_mm'


class ExecuTorch(Format):
    """A file for one batch; the metadata are what one of its methods gives."""

    name = 'executorch'
    suffix = '.pte'
    converters = runtimes = ('executorch',)
    one_size = 'XNNPACK plans its memory for it'

    def write(self, network, images, path, meta, opset=None) -> None:
        import torch

        from ..writer import exportable

        cure = 'See docs/deploy.md for the versions of executorch and torch that go together'
        with exportable(network), converting('executorch', cure):
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
                XnnpackPartitioner,
            )
            from executorch.exir import to_edge_transform_and_lower

            edge = to_edge_transform_and_lower(
                torch.export.export(network, (images,)),
                partitioner=[XnnpackPartitioner()],
                constant_methods={_METADATA: as_json(meta)},
            )
            path.write_bytes(edge.to_executorch().buffer)

    def load(self, path: Path, threads: Optional[int] = None) -> Run:
        import torch

        method = _program(path).load_method('forward')
        batch = method.metadata.input_tensor_meta(0).sizes()[0]

        def run(images):
            return [output.numpy() for output in method.execute([torch.from_numpy(images)])]

        return fixed_batch(run, batch)

    def properties(self, path: Path) -> Mapping[str, str]:
        program = _program(path)
        if _METADATA not in program.method_names:
            raise MetadataError(f'{path} has no method {_METADATA}; export the checkpoint again')
        return from_json(program.load_method(_METADATA).execute([])[0], path)


def _program(path: Path):
    from executorch.runtime import Runtime

    return Runtime.get().load_program(path)
