"""The 8-bit form of an ONNX file."""

import tempfile
from pathlib import Path
from typing import Optional, Sequence

import numpy as np

from ..core.environment import require
from .check import Run, load_runner
from .metadata import Metadata
from .networks import random_images
from .runtime import Runner
from .writer import INPUT, add_metadata, quiet

#: What is computed in 8 bits. The scan, made of other operators, stays in float32.
_OPERATORS = ['Conv', 'Gemm']


def write_int8(path: Path, target: Path, pictures: Sequence[Path], meta: Metadata) -> Run:
    """Write the 8-bit form of a file and report how far it is from the float32 form.

    Args:
        path: The float32 file.
        target: The file to write.
        pictures: Give the ranges of the activations (static quantization); without any,
            each input gives its own (dynamic quantization).
        meta: Of the file; goes into the new one, too.

    Returns:
        What runs it.
    """
    images = list(map(Runner(path).preprocess, pictures)) if pictures else []
    quantize(path, target, images or None)
    add_metadata(target, meta.to_props())
    run, int8 = load_runner(path), load_runner(target)
    what = f'{len(images)} pictures' if images else '4 random images'
    inputs = images or [random_images(4, meta.input_size).numpy()]
    pairs = [(int8(image), run(image)) for image in inputs]
    line = f'Written: {target} ({target.stat().st_size / 2**20:.1f} MiB); on {what}'
    if meta.output != 'labels':
        errors = [
            np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)
            for actual, expected in pairs
            for a, b in zip(actual, expected, strict=True)
        ]
        line += f' relative error {np.mean(errors):.1e} on average, {max(errors):.1e} at most'
    if meta.output != 'features':
        labels = [
            (a[0], b[0]) if meta.output == 'labels' else (a[0].argmax(1), b[0].argmax(1))
            for a, b in pairs
        ]
        same = np.mean([np.mean(a == b) for a, b in labels])
        line += f', {100 * same:.1f} % of the top-1 labels agree'
    print(line)
    return int8


def quantize(path: Path, target: Path, calibration: Optional[Sequence[np.ndarray]] = None) -> None:
    """Write the 8-bit form of an ONNX file.

    Args:
        calibration: Normalized images, ``(1, 3, H, W)`` each, whose activations give the
            ranges (static); ``None`` takes the ranges of each input as it comes (dynamic).
    """
    require('onnx', 'onnxruntime', purpose='--int8')
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with quiet(), tempfile.TemporaryDirectory() as folder:
        # Folds what stands between constants and the operators that are quantized.
        prepared, written = str(Path(folder) / path.name), str(target)
        quant_pre_process(str(path), prepared, skip_symbolic_shape=True)
        if calibration is None:
            # ONNX Runtime's ConvInteger on CPUs takes unsigned weights only.
            unsigned = quantization.QuantType.QUInt8
            quantization.quantize_dynamic(prepared, written, _OPERATORS, weight_type=unsigned)
            return

        class Reader(quantization.CalibrationDataReader):
            images = iter(calibration)

            def get_next(self) -> Optional[dict]:
                return next(({INPUT: image} for image in self.images), None)

        quantization.quantize_static(
            prepared,
            written,
            Reader(),
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
