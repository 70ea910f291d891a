"""What a file says of itself: read from the config that it comes from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence, Tuple

from torch import nn

from ..core.errors import UsageError
from ..ops.backends.exportable import MAX_POSITIONS
from ..version import __version__
from .detectors.letterbox import Fit
from .metadata import Metadata

if TYPE_CHECKING:
    from mmengine.config import Config


def describe(
    cfg: 'Config',
    name: str,
    part: str,
    output: str,
    model: nn.Module,
    *,
    input_size: Tuple[int, int],
    dynamic_size: bool,
    preprocess: bool,
    classes: Sequence[str],
    checkpoint: Optional[str],
) -> Metadata:
    """Collect what a runner has to know.

    Raises:
        UsageError: The config does not say how images are normalized.
    """
    preprocessor = preprocessor_of(cfg, name)
    steps = _steps(cfg)
    resize, interpolation, divisor = None, 'bilinear', 32
    if 'ResizeEdge' in steps:
        resize = (int(steps['ResizeEdge']['scale']),)
        crop = steps.get('CenterCrop', {}).get('crop_size', input_size[0])
        # Another input size keeps the share of the picture that the crop shows.
        resize = (round(resize[0] * min(input_size) / crop),)
        interpolation = steps['ResizeEdge'].get('interpolation', 'bilinear')
    elif 'Resize' in steps and isinstance(steps['Resize'].get('scale'), (list, tuple)):
        scale = steps['Resize']['scale']
        resize = (int(max(scale)), int(min(scale)))
        divisor = steps.get('ResizeToMultiple', {}).get('size_divisor', 32)
    others: Dict[str, Any] = {}
    if part == 'detector':
        if not preprocessor.get('bgr_to_rgb', False):
            raise UsageError(
                f'{name} feeds its network BGR (data_preprocessor.bgr_to_rgb is False), which a '
                'whole detector in a file is not; export with --part neck'
            )
        from .detectors.family import masks_of  # loads torchvision

        divisor = int(preprocessor.get('pad_size_divisor', 1))
        others = {**_filling(steps), 'preprocess': preprocess}
        others['masks'], others['mask_stride'], others['mask_threshold'] = masks_of(model)
    return Metadata(
        config=name,
        arch=str(cfg.model.backbone.get('arch', '')),
        part=part,
        output=output,
        input_size=tuple(input_size),
        dynamic_size=dynamic_size,
        max_pixels=MAX_POSITIONS * 32**2 if dynamic_size else input_size[0] * input_size[1],
        mean=tuple(map(float, preprocessor['mean'])),
        std=tuple(map(float, preprocessor['std'])),
        resize=resize,
        interpolation=interpolation if interpolation in ('bilinear', 'bicubic') else 'bilinear',
        divisor=divisor,
        classes=tuple(classes),
        weights=Path(checkpoint).name if checkpoint else 'random',
        version=__version__,
        **others,
    )


def preprocessor_of(cfg: 'Config', name: str) -> Mapping[str, Any]:
    """How images are normalized for the network of a config that the user calls so.

    Raises:
        UsageError: The config does not say.
    """
    found = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    if 'mean' not in found or 'std' not in found:
        raise UsageError(f'{name} has no data_preprocessor with mean and std')
    return found


def tested_size(cfg: 'Config') -> Optional[Tuple[int, int]]:
    """Height and width that the tests of a detector's config bring every picture to, if they do."""
    steps = _steps(cfg)
    fixed = steps.get('Pad', {}).get('size')
    resize = steps.get('Resize', {})
    if fixed is None and not resize.get('keep_ratio', False):
        fixed = resize.get('scale')
    return tuple(map(int, fixed[::-1])) if isinstance(fixed, (list, tuple)) else None


def fit_of(meta: Metadata) -> Fit:
    """How the graph of a detector makes images of pictures."""
    fixed = not meta.dynamic_size or meta.padding is not None or not meta.keep_ratio
    return Fit(
        size=meta.input_size if fixed else None,
        limits=meta.resize or meta.input_size,
        keep_ratio=meta.keep_ratio,
        divisor=meta.divisor,
        padding=meta.padding,
        mean=meta.mean,
        std=meta.std,
    )


def _filling(steps: Mapping[str, Any]) -> Dict[str, Any]:
    keep_ratio = bool(steps.get('Resize', {}).get('keep_ratio', False))
    pad = steps.get('Pad', {})
    if pad.get('size') is None:
        return {'keep_ratio': keep_ratio, 'padding': None}
    value = pad.get('pad_val', 0)
    value = value.get('img', 0) if isinstance(value, dict) else value
    # mmdet fills up in OpenCV's order of channels.
    color = tuple(value)[::-1] if isinstance(value, (list, tuple)) else (value,) * 3
    return {'keep_ratio': keep_ratio, 'padding': tuple(map(float, color))}


def _steps(cfg: 'Config') -> Dict[str, Any]:
    """Transforms of the config's tests, by their type."""
    pipeline = cfg.get('test_dataloader', {}).get('dataset', {}).get('pipeline', ())
    return {step['type'].rpartition('.')[2]: step for step in pipeline}
