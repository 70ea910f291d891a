"""TensorRT: the ONNX file that its builder takes, and the command that builds the engine.

An engine fits one kind of GPU and one version of TensorRT, so it is built where it runs.
"""

import shlex
from pathlib import Path
from typing import List

from ...core.environment import package_state
from ...core.errors import ExportMismatchError
from .onnx import Onnx

#: Batches of the engine: the smallest, the one that it is tuned for, the largest.
_BATCHES = (1, 1, 8)
#: Its sides, if a file takes any, in times of those that it is tuned for.
_SIDES = (0.5, 1, 2)


class TensorRt(Onnx):
    """An ONNX file with a script beside it; compared in ONNX Runtime, never in TensorRT."""

    name = 'tensorrt'

    def write(self, network, images, path, meta, opset=None) -> None:
        from ..writer import INPUT

        super().write(network, images, path, meta, opset)
        height, width = meta.input_size
        shapes = []
        for bound, batch, factor in zip(('min', 'opt', 'max'), _BATCHES, _SIDES, strict=True):
            factor = factor if meta.dynamic_size else 1
            sizes = (batch, 3, int(height * factor), int(width * factor))
            shapes.append(f'--{bound}Shapes={INPUT}:{"x".join(map(str, sizes))}')
        engine = path.with_suffix('.engine').name
        command = ['trtexec', f'--onnx={path.name}', f'--saveEngine={engine}', *shapes]
        _script(path).write_text(
            '#!/bin/sh\n# --bf16 or --fp16 are faster; what they cost was not measured.\n'
            f'cd "$(dirname "$0")" && {shlex.join(command)} "$@"\n',
            encoding='utf-8',
        )

    def inspect(self, path: Path) -> List[str]:
        lines = super().inspect(path)
        lines.append(f'The engine is built where it runs: sh {_script(path)}')
        if not package_state('tensorrt').usable:
            return [*lines, 'No engine was built or measured: tensorrt is not installed here']
        return [*lines, f"TensorRT's parser takes the file: {_parsed(path)} layers"]

    def files(self, path: Path) -> List[Path]:
        return [path, _script(path)]


def _script(path: Path) -> Path:
    return path.with_suffix('.trtexec.sh')


def _parsed(path: Path) -> int:
    """Number of layers that TensorRT's parser finds in a file."""
    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    network = tensorrt.Builder(logger).create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        words = [parser.get_error(number).desc() for number in range(parser.num_errors)]
        raise ExportMismatchError(f"TensorRT's parser refuses {path}: {'; '.join(words)[:300]}")
    return network.num_layers
