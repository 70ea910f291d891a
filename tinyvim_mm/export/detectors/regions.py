"""Features of regions, from the level of the pyramid that fits the size of each."""

from typing import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align


def region_features(extractor: nn.Module, features: Sequence[Tensor], regions: Tensor) -> Tensor:
    """What mmdet's ``SingleRoIExtractor`` gives, in tensors of fixed shapes.

    Each level computes all regions, those of other levels as empty ones, which take no time.

    Args:
        extractor: Has the RoIAlign layers.
        features: ``(batch, channels, H, W)`` of each level.
        regions: Corners ``(batch, n, 4)``, in pixels of the input.

    Returns:
        ``(batch * n, channels, h, w)``
    """
    batch, count = regions.shape[:2]
    owners = torch.arange(batch, device=regions.device).repeat_interleave(count)
    owners, regions = owners.to(regions).unsqueeze(1), regions.reshape(-1, 4)
    layers = extractor.roi_layers
    sides = regions[:, 2:] - regions[:, :2]
    scale = sides.prod(1).sqrt()
    level = (scale / extractor.finest_scale + 1e-6).log2().floor().clamp(0, len(layers) - 1)
    found = None
    for index, (layer, maps) in enumerate(zip(layers, features)):  # noqa: B905 - the rest is RPN's
        here = (level == index).unsqueeze(1)
        own = torch.cat([owners, torch.where(here, regions, 0.0)], 1)
        pooled = roi_align(
            maps,
            own,
            layer.output_size,
            float(layer.spatial_scale),
            max(layer.sampling_ratio, 0),
            layer.aligned,
        )
        found = pooled if found is None else torch.where(here[..., None, None], pooled, found)
    return found
