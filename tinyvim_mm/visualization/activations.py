"""Statistics of the layers along the depth of a network."""

import re
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence

import numpy as np
from matplotlib.figure import Figure

from .figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


#: Largest finite number of half precision.
FP16_MAX = float(np.finfo(np.float16).max)


@dataclass
class LayerStatistics:
    """Statistics of all values that a layer returned.

    Attributes:
        name: Name of the layer in the backbone.
        kind: Name of its class.
        values: Number of values.
        mean: Mean of the finite values.
        std: Standard deviation of the finite values.
        max_abs: Largest absolute value among the finite ones.
        non_finite: Share of infinities and NaNs.
        zeros: Share of exact zeros.
    """

    name: str
    kind: str
    values: int
    mean: float
    std: float
    max_abs: float
    non_finite: float
    zeros: float

    def facts(self) -> Dict[str, Any]:
        """The statistics as JSON takes them, and the largest value as a share of fp16's."""
        return {**asdict(self), 'share_of_fp16_max': self.max_abs / FP16_MAX}


def draw_activations(
    layers: Sequence[LayerStatistics], title: str, warning: Optional[str]
) -> Figure:
    """Largest value, spread, and shares of zeros and non-finite values, layer by layer.

    Layers are in the order in which they run. Title and warning are those of :func:`.new_figure`.
    """
    figure = new_figure((10, 5.6), title, warning)
    sizes, shares = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.2])
    places = np.arange(len(layers))
    for values, label, style in (
        ([x.max_abs for x in layers], 'largest absolute value', {'color': 'C3'}),
        ([x.std for x in layers], 'standard deviation', {'color': 'C0'}),
        ([abs(x.mean) for x in layers], 'absolute mean', {'color': 'C7', 'linewidth': 0.7}),
    ):
        # Zero has no logarithm: a gap.
        sizes.plot(places, [v or np.nan for v in values], label=label, **style)
    sizes.axhline(FP16_MAX, color='black', linestyle='--', linewidth=1)
    text = dict(textcoords='offset points', fontsize=8)
    sizes.annotate('largest number of fp16', (0, FP16_MAX), (2, -10), **text)
    peak = max(places, key=lambda place: layers[place].max_abs)
    sizes.plot(peak, layers[peak].max_abs, 'o', color='C3', markersize=4)
    right = peak > len(layers) / 2
    sizes.annotate(
        f'{layers[peak].name}: {layers[peak].max_abs:.3g} ',
        (peak, layers[peak].max_abs),
        (-4 if right else 4, 6),
        ha='right' if right else 'left',
        **text,
    )
    sizes.set_yscale('log')
    sizes.set_ylim(bottom=max(sizes.get_ylim()[0], 1e-5))
    sizes.legend(fontsize=8, loc='lower right', ncols=3)
    sizes.grid(alpha=0.3)
    shares.plot(places, [100 * x.zeros for x in layers], color='C2', label='zeros')
    shares.plot(places, [100 * x.non_finite for x in layers], color='C3', label='not finite')
    shares.set_ylabel('% of the values')
    shares.set_xlabel('layers, in the order in which they run')
    shares.set_ylim(0, max(1.0, shares.get_ylim()[1]))
    shares.legend(fontsize=8, loc='upper right', ncols=2)
    shares.grid(alpha=0.3)
    _mark_parts((sizes, shares), layers)
    sizes.margins(x=0.01)
    return figure


def _mark_parts(panels: Sequence['Axes'], layers: Sequence[LayerStatistics]) -> None:
    """Shade every second part of the network, and name the parts."""
    end = 0
    for index, (name, part) in enumerate(groupby(layers, _part)):
        start, end = end, end + len(list(part))
        for axes in panels:
            if index % 2:
                axes.axvspan(start - 0.5, end - 0.5, color='0.93', zorder=0)
        if (end - start) * 20 > len(layers):
            middle, above = (start + end - 1) / 2, panels[0].get_xaxis_transform()
            panels[0].text(middle, 1.01, name, transform=above, ha='center', fontsize=8)


def _part(layer: LayerStatistics) -> str:
    stage = re.match(r'stages\.(\d+)\.', layer.name)
    return f'stage {int(stage[1]) + 1}' if stage else layer.name.split('.')[0]
