"""Effective receptive fields side by side."""

import textwrap
from dataclasses import dataclass
from typing import Dict, Optional, Sequence

import numpy as np
from matplotlib.figure import Figure

from .figure import new_figure

#: Decades below the largest value that the pictures show.
DECADES = 4
_COLUMNS = 4


@dataclass(frozen=True)
class Panel:
    """One network.

    Attributes:
        caption: Stands above the picture.
        field: ``(H, W)``, not negative; ``None`` if there is none.
        areas: Share of the contribution to share of the area; stands below.
        problem: Why there is no field.
    """

    caption: str
    field: Optional[np.ndarray] = None
    areas: Optional[Dict[str, float]] = None
    problem: str = ''


def draw_fields(panels: Sequence[Panel], title: str, warning: Optional[str]) -> Figure:
    """Heat maps of panels, at least one, on a logarithmic scale; each relative to its largest.

    Title and warning are those of :func:`.new_figure`.
    """
    rows = -(-len(panels) // _COLUMNS)
    columns = -(-len(panels) // rows)
    figure = new_figure((max(2.2 * columns + 1, 7.5), 2.75 * rows + 0.8), title, warning)
    grid = figure.subplots(rows, columns, squeeze=False)
    image = None
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.set_title(panel.caption, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        if panel.field is None:
            text = textwrap.fill(panel.problem, 26)
            axes.text(0.5, 0.5, text, ha='center', va='center', fontsize=8)
            axes.set_aspect(1)
            continue
        relative = np.maximum(panel.field / panel.field.max(), 10.0**-DECADES)
        image = axes.imshow(np.log10(relative), cmap='inferno', vmin=-DECADES, vmax=0)
        lines = [f'{share}: {100 * area:.2g}%' for share, area in panel.areas.items()]
        axes.set_xlabel('   '.join(lines), fontsize=8)
    if image is not None:
        bar = figure.colorbar(image, ax=grid.ravel().tolist(), shrink=0.7, extend='min')
        bar.set_label('log10 contribution, relative to the largest', fontsize=8)
    return figure
