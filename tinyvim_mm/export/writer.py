"""Writing networks to files: ONNX and torch.export."""

import contextlib
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple, Union

import torch
from torch import Tensor

from ..core.environment import require
from ..core.errors import UsageError
from .networks import Exported, ExportedNetwork, exportable_upsampling
from .pooling import exportable_pooling
from .scan import exportable_scan

#: Has LayerNormalization, and every torch from 2.1 on can write it.
OPSET = 17
INPUT = 'images'
# Has RoiAlign with aligned corners.
_DETECTOR_OPSET = 16


def write_onnx(
    network: Exported,
    images: Union[Tensor, Tuple[Tensor, ...]],
    path: Path,
    dynamic_size: bool = False,
    opset: int = OPSET,
    leave_out_scan: bool = False,
) -> None:
    """Write a network of standard operators with a dynamic batch.

    Args:
        network: In evaluation mode.
        images: Example of its input, or of several.
        path: The ``.onnx`` file.
        dynamic_size: Whether height and width are dynamic too.
        opset: Version of ONNX's operators.
        leave_out_scan: See :func:`.scan.exportable_scan`.

    Raises:
        MissingPackageError: A package that the exporter needs is missing.
        UsageError: The exporter fails; the message says what it says.
    """
    require('onnx', purpose='the export to ONNX')
    inputs = images if isinstance(images, tuple) else (images,)
    if network.part == 'detector':
        _check_detector(opset)
    arguments: Dict[str, Any] = dict(opset_version=opset, input_names=list(network.input_names))
    with exportable(network, dynamic_size, leave_out_scan):
        outputs = network(*inputs)
        arguments['output_names'] = network.output_names(len(outputs))
        try:
            if _traces():
                axes = network.axes(outputs, dynamic_size)
                torch.onnx.export(
                    network, inputs, str(path), dynamic_axes=axes, **_TRACE, **arguments
                )
            else:
                require('onnxscript', purpose='the export to ONNX with this version of torch')
                shapes = (dynamic_shape(dynamic_size),)
                torch.onnx.export(
                    network, inputs, str(path), dynamic_shapes=shapes, dynamo=True, **arguments
                )
        except (RuntimeError, ValueError, TypeError) as error:
            raise _failure('torch.onnx.export', error, dynamic_size) from error


def write_program(
    network: ExportedNetwork, images: Tensor, path: Path, texts: Optional[Mapping[str, str]] = None
) -> None:
    """Write a ``torch.export`` program (``.pt2``) without custom operators, with a dynamic batch.

    Height and width are fixed: ``torch.export`` specializes the scan to them. Arguments and
    errors are those of :func:`write_onnx`; ``images`` are more than one. ``texts`` are files, by
    name, to be stored in the program.
    """
    with exportable(network):
        shapes = (dynamic_shape(False),)
        try:
            program = torch.export.export(network, (images,), dynamic_shapes=shapes)
        except Exception as error:  # torch.export raises many kinds
            raise _failure('torch.export', error, False) from error
        torch.export.save(program, path, extra_files=dict(texts or {}))


def add_metadata(path: Path, props: Mapping[str, str]) -> None:
    """Store strings as ``metadata_props`` of an ONNX file, and check the file."""
    import onnx

    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, dict(props))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def custom_operators(path: Path) -> Tuple[str, ...]:
    """Operators of an ONNX file that are not ONNX's own."""
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    return tuple(sorted({f'{n.domain}::{n.op_type}' for n in nodes if n.domain}))


def _traces() -> bool:
    """Whether the tracing exporter is there: it needs onnxscript from no version of torch."""
    return hasattr(torch.onnx, 'utils') and hasattr(torch.onnx.utils, 'export')


# torch 2.1 to 2.4 know the tracing exporter alone, and not all of these arguments. An operator that
# is inlined would lose its ONNX form.
_TRACE = {
    name: False
    for name in ('dynamo', 'autograd_inlining')
    if name in torch.onnx.export.__code__.co_varnames
}


def _check_detector(opset: int) -> None:
    """Raise unless the operators of a whole detector can be written."""
    if not _traces():
        raise UsageError(
            f'whole detectors are written by the tracing exporter, which torch {torch.__version__} '
            'has no more; use torch 2.14 or earlier, or export with --part neck'
        )
    if opset < _DETECTOR_OPSET:
        raise UsageError(
            f'--opset {opset}: RoIAlign as mmdet has it is in ONNX from {_DETECTOR_OPSET} on'
        )


def dynamic_shape(dynamic_size: bool) -> Dict[int, Any]:
    """The free axes of the images, as ``torch.export`` takes them."""
    from torch.export import Dim

    # Named dimensions are proven, and the prover fails at min(2, 18 * batch) == 2.
    shape = {0: getattr(Dim, 'DYNAMIC', None) or Dim('batch')}
    if dynamic_size:
        shape.update({2: Dim('height', min=64, max=4096), 3: Dim('width', min=64, max=4096)})
    return shape


def _failure(exporter: str, error: Exception, dynamic_size: bool) -> UsageError:
    lines = str(error).strip().splitlines() or ['']
    cure = (
        'Leave out --dynamic-size and export one file for each size with --input-size'
        if dynamic_size
        else 'Another --opset, or another version of torch, may help'
    )
    return UsageError(f'{exporter} of torch {torch.__version__} failed: {lines[0]}. {cure}')


@contextlib.contextmanager
def exportable(
    network: Exported, dynamic_size: bool = False, leave_out_scan: bool = False
) -> Iterator[None]:
    """Let a network compute in the forms that exporters take; arguments of :func:`write_onnx`."""
    with (
        torch.no_grad(),
        exportable_scan(network, dynamic_size, leave_out_scan),
        exportable_upsampling(network),
        exportable_pooling(network),
        quiet(),
    ):
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the tracers' warnings about Python numbers; the result is checked instead."""
    with warnings.catch_warnings():
        for kind in (torch.jit.TracerWarning, DeprecationWarning, FutureWarning):
            warnings.simplefilter('ignore', kind)
        warnings.filterwarnings('ignore', category=UserWarning, module=r'torch\.onnx')
        yield
