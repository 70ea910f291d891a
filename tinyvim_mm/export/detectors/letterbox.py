"""Pictures in exported graphs: resized as OpenCV does it, normalized, filled up."""

from typing import NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

# Weights of a resize are 11 bits, of each direction; sums lose 4 bits in between.
_ONE, _BETWEEN, _REST, _HALF = 2**11, 2**4, 2**16, 2


class Fit(NamedTuple):
    """How pictures become inputs.

    Attributes:
        size: Height and width of the input, or ``None`` if they follow from the picture.
        limits: Longest and shortest side of a resized picture, where ``size`` is ``None``.
        keep_ratio: Whether height and width are resized by the same factor.
        divisor: Sides of the input are multiples of it, where ``size`` is ``None``.
        padding: RGB that the picture is filled up with, as a part of it; ``None`` fills the
            input with zeros.
        mean: To be subtracted from RGB.
        std: To divide by then.
    """

    size: Optional[Tuple[int, int]]
    limits: Tuple[int, int]
    keep_ratio: bool
    divisor: int
    padding: Optional[Sequence[float]]
    mean: Sequence[float]
    std: Sequence[float]


class Letterbox(nn.Module):
    """From pictures to the inputs of a detector, in integers as OpenCV's bilinear resize has it.

    In tests two of a million values differ from OpenCV's, by one level: it computes weights in
    float64, which not every runtime has.
    """

    def __init__(self, fit: Fit) -> None:
        super().__init__()
        self.fit = fit

    def forward(self, pictures: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """RGB ``(batch, height, width, 3)``, uint8, to inputs.

        Returns:
            Images ``(batch, 3, H, W)``; height and width of the picture in them
            ``(batch, 2)``; and the factors of width and height, ``(2,)``; float32.
        """
        fit = self.fit
        shape = torch.stack([_scalar(side, pictures) for side in pictures.shape[1:3]])
        resized = self._resized(shape)
        if fit.size:
            inner = torch.tensor(fit.size, device=pictures.device)
        else:
            inner = (resized + fit.divisor - 1).div(fit.divisor, rounding_mode='floor')
            inner = inner * fit.divisor
        # OpenCV takes a row of the border twice, with both weights, but a column once.
        rows = _taps(shape[0], resized[0], inner[0], once=False)
        columns = _taps(shape[1], resized[1], inner[1], once=True)
        values = _interpolate(pictures.int(), rows, columns)
        inside = rows.inside.view(-1, 1, 1) & columns.inside.view(1, -1, 1)
        mean, std = (values.new_tensor(list(of)) for of in (fit.mean, fit.std))
        if fit.padding is None:
            images = torch.where(inside, (values - mean) / std, 0.0)
        else:
            images = (
                torch.where(inside, values, values.new_tensor(list(fit.padding))) - mean
            ) / std
        taken = resized if fit.padding is None else inner
        sizes = taken.float().unsqueeze(0).expand(pictures.shape[0], -1)
        return images.permute(0, 3, 1, 2), sizes, (resized.float() / shape.float()).flip(0)

    def _resized(self, shape: Tensor) -> Tensor:
        """Height and width of a resized picture: the factor is that of two that is smaller."""
        fit = self.fit
        if not fit.keep_ratio:
            return torch.tensor(fit.size or fit.limits[::-1], device=shape.device)
        if fit.size:
            ends, starts = torch.tensor(fit.size, device=shape.device), shape
        else:
            ends = torch.tensor(fit.limits, device=shape.device)
            starts = torch.stack([shape.amax(), shape.amin()])
        first = ends[0] * starts[1] <= ends[1] * starts[0]
        end = torch.where(first, ends[0], ends[1])
        start = torch.where(first, starts[0], starts[1])
        # Rounded to the nearest pixel.
        return (2 * shape * end + start).div(2 * start, rounding_mode='floor').clamp(min=1)


class _Taps(NamedTuple):
    """Of each pixel of one direction: the two that it lies between, and their weights."""

    near: Tensor
    far: Tensor
    near_weight: Tensor
    far_weight: Tensor
    inside: Tensor


def _taps(start: Tensor, end: Tensor, count: Tensor, once: bool) -> _Taps:
    """For ``count`` pixels, of which the first ``end`` show ``start`` of a picture.

    Where both are the same pixel at the border, ``once`` gives the first all the weight.
    """
    pixel = torch.arange(count, device=start.device)
    # The place is place / whole - 1, in pixels of the picture; so no integer is negative.
    place, whole = (2 * pixel + 1) * start + end, 2 * end
    near = place.div(whole, rounding_mode='floor')
    share = (place - near * whole).float() / whole.float()
    near, last = near - 1, start - 1
    # OpenCV rounds the place to float32 before it takes the whole pixels off.
    share = (near.float() + share) - near.float()
    if once:
        share = torch.where((near >= 0) & (near < last), share, 0.0)
    return _Taps(
        torch.minimum(near.clamp(min=0), last),
        torch.minimum(near + 1, last),
        ((1 - share) * _ONE).round().int(),
        (share * _ONE).round().int(),
        pixel < end,
    )


def _interpolate(pictures: Tensor, rows: _Taps, columns: _Taps) -> Tensor:
    """Whole numbers as float32, ``(batch, H, W, 3)``."""
    sums = (
        pictures.index_select(2, columns.near) * columns.near_weight.view(-1, 1)
        + pictures.index_select(2, columns.far) * columns.far_weight.view(-1, 1)
    ).div(_BETWEEN, rounding_mode='trunc')
    near = sums.index_select(1, rows.near) * rows.near_weight.view(-1, 1, 1)
    far = sums.index_select(1, rows.far) * rows.far_weight.view(-1, 1, 1)
    parts = [part.div(_REST, rounding_mode='trunc') for part in (near, far)]
    return (parts[0] + parts[1] + _HALF).div(2 * _HALF, rounding_mode='trunc').float()


def _scalar(value: object, like: Tensor) -> Tensor:
    """A side of a shape; while a graph is traced it is a tensor already."""
    return value if isinstance(value, Tensor) else torch.tensor(value, device=like.device)
