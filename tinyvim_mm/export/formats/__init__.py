"""The formats of exported files: one module and one line here for each.

Importing this package loads neither torch nor a converter: the parser of the command takes
the names from here, and a converter is imported when it is used.
"""

from pathlib import Path
from typing import Dict, Optional

from ...core.errors import UsageError
from . import coreml, executorch, litert, ncnn, onnx, openvino, tensorrt, torch_export
from .base import Format

#: By the name that ``--format`` takes; of two with one suffix the first is the default.
FORMATS: Dict[str, Format] = {
    found.name: found
    for found in (
        onnx.Onnx(),
        torch_export.TorchExport(),
        openvino.OpenVino(),
        executorch.ExecuTorch(),
        litert.LiteRt(),
        coreml.CoreMl(),
        ncnn.Ncnn(),
        tensorrt.TensorRt(),
    )
}


def suffixes() -> str:
    """All suffixes, as part of a message."""
    *first, last = dict.fromkeys(found.suffix for found in FORMATS.values())
    return f'{", ".join(first)} or {last}'


def format_of(path: Path, name: Optional[str] = None) -> Format:
    """The format of a file.

    Args:
        path: The file, which need not be there.
        name: Of the format; ``None`` goes by the suffix of the file.

    Raises:
        UsageError: The suffix is of no format, or of another one than ``name``.
    """
    for found in FORMATS.values():
        if name in (None, found.name) and path.suffix == found.suffix:
            return found
    raise UsageError(f'--out {path} must end in {FORMATS[name].suffix if name else suffixes()}')
