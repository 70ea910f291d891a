"""Comparison of an exported file with the network that it was made from."""

from pathlib import Path
from typing import Callable, List, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..core.errors import ExportMismatchError
from .formats import format_of
from .formats.base import Run
from .metadata import Metadata
from .networks import ExportedNetwork, random_images

#: Largest relative error of an exported file.
TOLERANCE = 1e-4


def network_runner(network: Callable[..., Sequence[Tensor]]) -> Run:
    """A network of PyTorch as a function on arrays."""

    def run(*inputs: np.ndarray) -> List[np.ndarray]:
        with torch.no_grad():
            return [output.numpy() for output in network(*map(torch.from_numpy, inputs))]

    return run


def load_runner(path: Path) -> Run:
    """An exported file as a function on arrays, with as many threads as torch has."""
    return format_of(path).load(path, torch.get_num_threads())


def compare(
    run: Run,
    truths: Mapping[str, ExportedNetwork],
    meta: Metadata,
    batch: int,
    any_batch: bool = True,
) -> None:
    """Compare with PyTorch on two batch sizes and two image sizes, where the file takes them.

    Args:
        run: Runs the file.
        truths: What it should compute, by name.
        meta: Of the file.
        batch: The smaller of the batch sizes, or the only one.
        any_batch: Whether the file takes any.

    Raises:
        ExportMismatchError: The error is above :data:`TOLERANCE`, or a shape is wrong.
    """
    height, width = meta.input_size
    # The second is no multiple of anything the network divides by.
    sizes = [(height, width), (height + 13, width + 7)] if meta.dynamic_size else [(height, width)]
    worst = 0.0
    for size in sizes:
        for images in (batch, batch + 2) if any_batch else (batch,):
            inputs = random_images(images, size, seed=images)
            for truth, network in truths.items():
                try:
                    error = error_of(network, run, inputs)
                except ExportMismatchError as mismatch:
                    raise ExportMismatchError(f'the file is wrong: {mismatch}') from None
                worst = max(worst, error)
                shape = f'{images} x {size[0]} x {size[1]}'
                print(f'  {shape}: relative error against {truth} {error:.1e}')
    if not worst <= TOLERANCE:
        raise ExportMismatchError(
            f'the file deviates from PyTorch by {worst:.1e}, more than {TOLERANCE:.0e}; do not use '
            'it. Try another --opset, or leave out --dynamic-size'
        )


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest deviation over the largest value, or the same in the L2 norm if that is more.

    Raises:
        ExportMismatchError: The shapes differ, or a value is not finite.
    """
    if actual.shape != expected.shape:
        raise ExportMismatchError(f'shape {actual.shape} instead of {expected.shape}')
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    difference = actual - expected
    if not np.isfinite(difference).all():
        raise ExportMismatchError('values are not finite')
    tiny = np.finfo(np.float64).tiny
    return max(
        float(np.abs(difference).max() / max(np.abs(expected).max(), tiny)),
        float(np.linalg.norm(difference) / max(np.linalg.norm(expected), tiny)),
    )


def error_of(network: ExportedNetwork, run: Run, images: Tensor) -> float:
    """Relative error of a file against a network, the largest over all outputs.

    Labels have no error. For a network of labels it is by how much the file's label was not
    the best: the best logit minus that of its label, over the largest logit; 0 where they agree.

    Raises:
        ExportMismatchError: Number or shapes of outputs differ, or values are not finite.
    """
    outputs = run(images.numpy())
    if network.output != 'labels':
        expected = network_runner(network)(images.numpy())
        if len(outputs) != len(expected):
            raise ExportMismatchError(f'{len(outputs)} outputs instead of {len(expected)}')
        return max(map(relative_error, outputs, expected))
    with torch.no_grad():
        logits = network.logits(images)
    labels, expected = torch.from_numpy(outputs[0]), logits.argmax(1).shape
    if labels.shape != expected:
        raise ExportMismatchError(f'labels {tuple(labels.shape)} instead of {tuple(expected)}')
    chosen = logits.gather(1, labels.long().unsqueeze(1)).squeeze(1)
    return float((logits.amax(1) - chosen).max() / logits.abs().max())
