"""Feature maps of the stages as pictures."""

from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

import numpy as np
import torch
from torch import Tensor

from .networks import Network


@dataclass(frozen=True)
class StageMaps:
    """The output of one stage for one picture.

    Attributes:
        shape: Channels, height, width.
        mean: ``(h, w)``, mean over the channels.
        components: ``(h, w, 3)`` in 0..1, the three principal components over the
            positions of this map, as colours.
        explained: Share of the variance in each of the three.
        std: Standard deviation of all values.
    """

    shape: Tuple[int, int, int]
    mean: np.ndarray
    components: np.ndarray
    explained: Tuple[float, ...]
    std: float

    def facts(self) -> Dict[str, Any]:
        """The numbers among them, as JSON takes them."""
        return {
            'shape': list(self.shape),
            'mean': float(self.mean.mean()),
            'std': self.std,
            'variance_explained': list(self.explained),
        }


def describe_stages(network: Network, picture: np.ndarray) -> List[StageMaps]:
    """Run a network on one picture.

    Args:
        network: The network to run.
        picture: RGB ``(H, W, 3)``, uint8.

    Returns:
        One entry for each stage.
    """
    with torch.no_grad():
        return [_maps(output[0]) for output in network.outputs(network.normalize([picture]))]


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
    colours = (scores.numpy() - low) / np.maximum(high - low, 1e-12)
    return StageMaps(
        shape=tuple(features.shape),
        mean=features.mean(0).numpy(),
        components=np.clip(colours, 0, 1),
        explained=tuple(shares.tolist()),
        std=float(features.std()),
    )
