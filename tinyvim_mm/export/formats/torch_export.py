"""Programs of ``torch.export``, which any later torch runs."""

from pathlib import Path
from typing import Mapping, Optional

from ..metadata import MetadataError
from .base import Format, Run, as_json, from_json

_METADATA = 'tinyvim_mm.json'


class TorchExport(Format):
    """A file for any batch; the metadata are a file in it."""

    name = 'torch-export'
    suffix = '.pt2'
    any_batch = True
    one_size = 'torch.export specializes the scan to it'

    def write(self, network, images, path, meta, opset=None) -> None:
        from ..writer import write_program

        write_program(network, images, path, {_METADATA: as_json(meta)})

    def load(self, path: Path, threads: Optional[int] = None) -> Run:
        import torch

        module = torch.export.load(path).module()

        def run(images):
            with torch.no_grad():
                return [output.numpy() for output in module(torch.from_numpy(images))]

        return run

    def properties(self, path: Path) -> Mapping[str, str]:
        import torch

        found = {_METADATA: ''}
        torch.export.load(path, extra_files=found)
        if not found[_METADATA]:
            raise MetadataError(f'{path} holds no {_METADATA}; export the checkpoint again')
        return from_json(found[_METADATA], path)
