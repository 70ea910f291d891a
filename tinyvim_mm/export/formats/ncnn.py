"""ncnn: a ``.param`` with the weights in a ``.bin``, by way of pnnx."""

import subprocess
import tempfile
from pathlib import Path
from typing import List, Mapping, Optional

from ...core.errors import UsageError
from ..metadata import MetadataError
from .base import Format, Run, as_json, fixed_batch, from_json


class Ncnn(Format):
    """Files for one image; the metadata are a JSON file beside them.

    The input is called ``in0``, the outputs ``out0``, ``out1`` and so on: pnnx knows no names.
    """

    name = 'ncnn'
    suffix = '.param'
    converters = ('pnnx', 'ncnn')
    runtimes = ('ncnn',)

    def write(self, network, images, path, meta, opset=None) -> None:
        import torch

        from ..writer import exportable

        if len(images) != 1:
            raise UsageError(f'--batch {len(images)}: an ncnn file takes one image; leave it out')
        with tempfile.TemporaryDirectory() as folder:
            traced = Path(folder) / 'network.pt'
            with exportable(network):
                torch.jit.trace(network, images, check_trace=False).save(str(traced))
            _convert(traced, images.shape, path)
        _check_layers(path)
        _sidecar(path).write_text(as_json(meta), encoding='utf-8')

    def load(self, path: Path, threads: Optional[int] = None) -> Run:
        import ncnn
        import numpy as np

        net = ncnn.Net()
        if threads:
            net.opt.num_threads = threads
        # Its defaults for mobile processors; on others they cost digits and gain nothing.
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        if net.load_param(str(path)) or net.load_model(str(_weights(path))):
            raise UsageError(f'{path} and {_weights(path).name} are no files that ncnn can load')
        names = [f'out{number}' for number in range(len(net.output_names()))]

        def run(images):
            extractor = net.create_extractor()
            extractor.input('in0', ncnn.Mat(np.ascontiguousarray(images[0])).clone())
            # ncnn has no axis of images.
            return [np.array(extractor.extract(name)[1])[None] for name in names]

        return fixed_batch(run, 1)

    def properties(self, path: Path) -> Mapping[str, str]:
        if not _sidecar(path).is_file():
            raise MetadataError(f'{path} has no {_sidecar(path).name} beside it')
        return from_json(_sidecar(path).read_text(encoding='utf-8'), _sidecar(path))

    def files(self, path: Path) -> List[Path]:
        return [path, _weights(path), _sidecar(path)]


def _weights(path: Path) -> Path:
    return path.with_suffix('.bin')


def _sidecar(path: Path) -> Path:
    return path.with_suffix('.json')


def _convert(traced: Path, shape, path: Path) -> None:
    import pnnx

    sizes = ','.join(map(str, shape))
    # The program, for its function in Python asks for a model file of its own in the way.
    command = [pnnx.EXEC_PATH, traced.name, f'inputshape=[{sizes}]f32', 'fp16=0']
    command += [f'ncnnparam={path.resolve()}', f'ncnnbin={_weights(path).resolve()}']
    done = subprocess.run(command, cwd=traced.parent, capture_output=True, text=True)
    if done.returncode or not path.is_file():
        last = (done.stderr.strip().splitlines() or [f'exit status {done.returncode}'])[-1]
        raise UsageError(f'pnnx failed: {last[:300]}. Another version of pnnx may help')


def _check_layers(path: Path) -> None:
    """Refuse a file with layers that pnnx took over from PyTorch, which ncnn does not know."""
    lines = path.read_text(encoding='utf-8').splitlines()[2:]
    unknown = sorted({kind for kind in (line.split()[0] for line in lines) if '.' in kind})
    if unknown:
        raise UsageError(
            f'pnnx finds no layers of ncnn for {", ".join(unknown)}. Another --output or --part, '
            'or another version of pnnx, may help'
        )
