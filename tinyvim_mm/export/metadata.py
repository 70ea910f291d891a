"""What an exported file says about itself, as ONNX ``metadata_props``.

Loads no other package: the writer and the torch-free runner share it.
"""

import json
import math
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from ..core.errors import CURABLE

#: Before the name of each field in a file, beside other producers' entries.
PREFIX = 'tinyvim_mm.'
#: Of the meaning of the fields.
FORMAT = 2


_PARTS = ('backbone', 'neck', 'classifier', 'segmentor', 'detector')
_OUTPUTS = ('features', 'logits', 'probabilities', 'labels', 'detections')
_LARGEST_SIDE = 2**16


class ExportedFileError(ValueError):
    """An exported file cannot be used; the message says why."""

    exit_code = CURABLE


class MetadataError(ExportedFileError):
    """A file was not written by this project, or by a later version of it."""


@dataclass(frozen=True)
class Metadata:
    """How to use an exported network.

    Attributes:
        config: Name of the config.
        arch: Architecture of the backbone.
        part: ``backbone``, ``neck`` (backbone and neck), ``classifier``, ``segmentor`` or
            ``detector``.
        output: ``features``, ``logits``, ``probabilities``, ``labels`` or ``detections``.
        input_size: ``(height, width)``; an example of them if ``dynamic_size``.
        dynamic_size: Whether other heights and widths are possible.
        max_pixels: Height times width that the file can compute.
        mean: To be subtracted from RGB values of 0 to 255.
        std: To divide by then.
        resize: Length of the short side before the central crop (classifier), or
            ``(long, short)`` limits of the sides (others), of the config's tests.
        interpolation: Of resizing: ``bilinear`` or ``bicubic``.
        divisor: Sides of a segmentor's or detector's input are multiples of it.
        classes: Their names; empty if unknown.
        weights: The checkpoint's file name; ``random`` without one.
        version: Of this package.
        format: :data:`FORMAT`.
        preprocess: Whether the file takes pictures, RGB of 0 to 255, in place of images: it
            resizes, fills up and normalizes them itself.
        keep_ratio: Whether pictures are resized with kept ratio.
        padding: RGB that pictures are filled up with, to ``input_size``; ``None`` if images are
            filled up with zeros after they were normalized.
        masks: What a detector's masks lie over: ``box``, probabilities over the box of each;
            ``image``, logits over the whole input; empty without masks.
        mask_stride: Pixels of the input for each of a mask over the input.
        mask_threshold: Probability from which a pixel belongs to an object.
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
    # Of format 2 and later.
    preprocess: bool = False
    keep_ratio: bool = True
    padding: Optional[Tuple[float, ...]] = None
    masks: str = ''
    mask_stride: int = 1
    mask_threshold: float = 0.5

    def to_props(self) -> Mapping[str, str]:
        """As the strings of ``metadata_props``."""
        return {PREFIX + name: json.dumps(value) for name, value in asdict(self).items()}

    @classmethod
    def from_props(cls, props: Mapping[str, str], origin: str) -> 'Metadata':
        """Read them back; ``origin`` is what to call the file in an error.

        Raises:
            MetadataError: Fields are missing or of a later format.
        """
        # What an earlier format has not is as it was then.
        later = {f.name for f in fields(cls) if f.default is not MISSING} - {'format'}
        names = [f.name for f in fields(cls) if f.name not in later or PREFIX + f.name in props]
        missing = [name for name in names if PREFIX + name not in props]
        if missing:
            raise MetadataError(
                f'{origin} was not written by tools/export.py of this project: it lacks the '
                f'metadata {", ".join(missing[:4])}. Export the checkpoint with that tool'
            )
        values = {}
        for name in names:
            try:
                value = json.loads(props[PREFIX + name])
            except (ValueError, RecursionError) as error:
                raise MetadataError(f'{origin}: {PREFIX}{name} is not JSON ({error})') from error
            values[name] = tuple(value) if isinstance(value, list) else value
        if isinstance(values['format'], int) and values['format'] > FORMAT:
            raise MetadataError(
                f'{origin} was written by tinyvim_mm {str(values["version"])[:40]}, which is later '
                'than this one; update this package'
            )
        for name, fits in _FITS.items():
            if name in values and not fits(values[name]):
                raise MetadataError(
                    f'{origin} says of itself what cannot be: {PREFIX}{name} is '
                    f'{values[name]!r:.80}. It is damaged, or not of this project; export the '
                    'checkpoint again'
                )
        return cls(**values)


def _is_whole(value: Any, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_sides(value: Any) -> bool:
    return isinstance(value, tuple) and all(_is_whole(side, _LARGEST_SIDE) for side in value)


def _are_colors(value: Any) -> bool:
    numbers = isinstance(value, tuple) and all(type(v) in (int, float) for v in value)
    return numbers and len(value) == 3 and all(abs(v) < 1e6 for v in value)


#: Whether a value of each field can be worked with: a file may say anything.
_FITS: Dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(('config', 'arch', 'weights', 'version'), _is_text),
    'part': lambda value: value in _PARTS,
    'output': lambda value: value in _OUTPUTS,
    'input_size': lambda value: _are_sides(value) and len(value) == 2,
    'dynamic_size': lambda value: isinstance(value, bool),
    'max_pixels': _is_whole,
    'mean': _are_colors,
    'std': lambda value: _are_colors(value) and min(value) > 0,
    'resize': lambda value: value is None or (_are_sides(value) and len(value) in (1, 2)),
    'interpolation': lambda value: value in ('bilinear', 'bicubic'),
    'divisor': lambda value: _is_whole(value, 4096),
    'classes': lambda value: isinstance(value, tuple) and all(map(_is_text, value)),
    'format': _is_whole,
    'preprocess': lambda value: isinstance(value, bool),
    'keep_ratio': lambda value: isinstance(value, bool),
    'padding': lambda value: value is None or _are_colors(value),
    'masks': lambda value: value in ('', 'box', 'image'),
    'mask_stride': lambda value: _is_whole(value, 4096),
    'mask_threshold': lambda value: type(value) in (int, float) and 0 <= value <= 1,
}
