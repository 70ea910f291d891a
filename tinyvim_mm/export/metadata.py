"""What an exported file says about itself, as ONNX ``metadata_props``.

Imports the standard library alone: the writer and the torch-free runner share it.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Mapping, Optional, Tuple

#: Before the name of each field in a file, beside other producers' entries.
PREFIX = 'tinyvim_mm.'
#: Of the meaning of the fields.
FORMAT = 1


class MetadataError(ValueError):
    """A file was not written by this project, or by a later version of it."""


@dataclass(frozen=True)
class Metadata:
    """How to use an exported network.

    Attributes:
        config: Name of the config.
        arch: Architecture of the backbone.
        part: ``backbone``, ``neck`` (backbone and neck), ``classifier`` or ``segmentor``.
        output: ``features``, ``logits``, ``probabilities`` or ``labels``.
        input_size: ``(height, width)``; an example of them if ``dynamic_size``.
        dynamic_size: Whether other heights and widths are possible.
        max_pixels: Height times width that the file can compute.
        mean: To be subtracted from RGB values of 0 to 255.
        std: To divide by then.
        resize: Length of the short side before the central crop (classifier), or
            ``(long, short)`` limits of the sides (segmentor), of the config's tests.
        interpolation: Of resizing: ``bilinear`` or ``bicubic``.
        divisor: Sides of a segmentor's input are multiples of it.
        classes: Their names; empty if unknown.
        weights: The checkpoint's file name; ``random`` without one.
        version: Of this package.
        format: :data:`FORMAT`.
    """

    config: str
    arch: str
    part: str
    output: str
    input_size: Tuple[int, int]
    dynamic_size: bool
    max_pixels: int
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    resize: Optional[Tuple[int, ...]]
    interpolation: str
    divisor: int
    classes: Tuple[str, ...]
    weights: str
    version: str
    format: int = FORMAT

    def to_props(self) -> Mapping[str, str]:
        """As the strings of ``metadata_props``."""
        return {PREFIX + name: json.dumps(value) for name, value in asdict(self).items()}

    @classmethod
    def from_props(cls, props: Mapping[str, str], origin: str) -> 'Metadata':
        """Read them back; ``origin`` is what to call the file in an error.

        Raises:
            MetadataError: Fields are missing or of a later format.
        """
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if PREFIX + name not in props]
        if missing:
            raise MetadataError(
                f'{origin} was not written by tools/export.py of this project: it lacks the '
                f'metadata {", ".join(missing[:4])}. Export the checkpoint with that tool'
            )
        values = {name: json.loads(props[PREFIX + name]) for name in names}
        if values['format'] > FORMAT:
            raise MetadataError(
                f'{origin} was written by tinyvim_mm {values["version"]}, which is later than '
                'this one; update this package'
            )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
