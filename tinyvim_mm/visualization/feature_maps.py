"""Photographs beside what each stage makes of them."""

from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure

from .figure import new_figure

_LEGEND = """above: mean over
the channels

here: three principal
components as colors;
in brackets the share of
the variance in them"""


@dataclass(frozen=True)
class StageMaps:
    """The output of one stage for one picture.

    Attributes:
        shape: Channels, height, width.
        mean: ``(h, w)``, mean over the channels.
        components: ``(h, w, 3)`` in 0..1, the three principal components over the
            positions of this map, as colors.
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


def draw_feature_maps(
    pictures: Sequence[np.ndarray],
    maps: Sequence[Sequence[StageMaps]],
    title: str,
    warning: Optional[str],
) -> Figure:
    """Two lines for each picture: mean over the channels, and principal components.

    Pictures are RGB, uint8, at least one; ``maps`` has of each an entry for each stage. Title and
    warning are those of :func:`.new_figure`.
    """
    columns = 1 + len(maps[0])
    figure = new_figure((1.8 * columns, 4.1 * len(pictures) + 0.4), title, warning)
    grid = figure.subplots(2 * len(pictures), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, (picture, stages) in enumerate(zip(pictures, maps, strict=True)):
        above, below = grid[2 * index : 2 * index + 2]
        above[0].imshow(picture)
        if index == 0:
            below[0].text(0.95, 0.5, _LEGEND, ha='right', va='center', fontsize=8)
        for column, stage in enumerate(stages, 1):
            channels, height, width = stage.shape
            # Percentiles, so that a few outliers do not take all the contrast.
            low, high = np.percentile(stage.mean, (1, 99))
            look = dict(cmap='viridis', vmin=low, vmax=high, interpolation='nearest')
            above[column].imshow(stage.mean, **look)
            above[column].set_title(f'stage {column}: {channels} x {height} x {width}', fontsize=8)
            below[column].imshow(stage.components, interpolation='nearest')
            below[column].set_title(f'({sum(stage.explained):.0%})', fontsize=8)
    return figure
