"""Adaptive pooling in graphs that are exported."""

import contextlib
from functools import partial
from typing import Iterator, Tuple

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def exportable_pooling(model: nn.Module) -> Iterator[None]:
    """Let adaptive average pooling of a model be two products with matrices.

    ONNX has an average over the whole map only, and of other sizes what divides it.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.AdaptiveAvgPool2d) and _sides(module) != (1, 1)
    ]
    for layer in layers:
        layer.forward = partial(_pool, sides=_sides(layer))
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _sides(layer: nn.AdaptiveAvgPool2d) -> Tuple[int, int]:
    size = layer.output_size
    return size if isinstance(size, tuple) else (size, size)


def _pool(maps: Tensor, sides: Tuple[int, int]) -> Tensor:
    """``(batch, channels, H, W)`` to ``(batch, channels, *sides)``; a side of ``None`` stays."""
    height, width = sides
    if height is not None:
        maps = _averages(maps.shape[2], height, maps) @ maps
    if width is not None:
        maps = maps @ _averages(maps.shape[3], width, maps).t()
    return maps


def _averages(count: int, bins: int, like: Tensor) -> Tensor:
    """A matrix ``(bins, count)``, where ``count`` may be a tensor: a graph is being traced."""
    pixels = torch.arange(count, device=like.device)
    numbers = torch.arange(bins, device=like.device).unsqueeze(1)
    # From the pixel that a bin begins in to the one that it ends in.
    starts = (numbers * count).div(bins, rounding_mode='floor')
    stops = ((numbers + 1) * count + bins - 1).div(bins, rounding_mode='floor')
    inside = ((pixels >= starts) & (pixels < stops)).to(like)
    return inside / inside.sum(1, keepdim=True)
