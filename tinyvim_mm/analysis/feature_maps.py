"""Feature maps of the stages as pictures."""

from typing import Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ..visualization.feature_maps import StageMaps, draw_feature_maps
from .networks import Network
from .reports import Report, warning_of


def features(network: Network, names: Sequence[str], pictures: Sequence[np.ndarray]) -> Report:
    """Feature maps of the stages beside the pictures."""
    maps = []
    with torch.no_grad():
        for picture in pictures:
            outputs = network.outputs(network.normalize([picture]))
            maps.append([_maps(output[0]) for output in outputs])
    title = f'Outputs of the stages: {network.name}, {network.described_weights}'
    figure = draw_feature_maps(pictures, maps, title, warning_of([network]))
    facts = [[stage.facts() for stage in stages] for stages in maps]
    stages = dict(zip(names, facts, strict=True))
    return Report([network], {'features': figure}, {'stages': stages})


def principal_components(features: Tensor, number: int = 3) -> Tuple[Tensor, Tensor]:
    """Project each position of a map on the directions of greatest variance.

    Args:
        features: ``(channels, h, w)``.
        number: How many directions; with fewer channels the rest are zero.

    Returns:
        ``(h, w, number)``, signed so that the largest entry of each direction is
        positive, and the share of the variance in each, ``(number,)``.
    """
    channels, height, width = features.shape
    points = features.double().flatten(1).T
    points = points - points.mean(0)
    # Of the covariance: there are fewer channels than positions, mostly.
    variances, directions = torch.linalg.eigh(points.T @ points)
    variances, directions = variances.flip(0).clamp_min(0), directions.flip(1)
    count = min(number, channels)
    directions = directions[:, :count]
    largest = directions.abs().argmax(0)
    directions = directions * directions[largest, range(count)].sign()
    scores = points.new_zeros(height * width, number)
    scores[:, :count] = points @ directions
    shares = points.new_zeros(number)
    shares[:count] = variances[:count] / variances.sum().clamp_min(1e-300)
    return scores.view(height, width, number), shares


def _maps(features: Tensor) -> StageMaps:
    features = features.detach().cpu()
    scores, shares = principal_components(features)
    # Percentiles, so that a few outliers do not take all the contrast.
    low, high = np.percentile(scores.numpy(), (1, 99), axis=(0, 1))
    colors = (scores.numpy() - low) / np.maximum(high - low, 1e-12)
    return StageMaps(
        shape=tuple(features.shape),
        mean=features.mean(0).numpy(),
        components=np.clip(colors, 0, 1),
        explained=tuple(shares.tolist()),
        std=float(features.std()),
    )
