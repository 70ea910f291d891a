"""A figure to draw in, and its file."""

from pathlib import Path
from typing import Optional, Tuple, Union

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: Of bold letters on average, as a share of their size.
_LETTER_WIDTH = 0.7


def new_figure(size: Tuple[float, float], title: str, warning: Optional[str] = None) -> Figure:
    """An empty figure.

    Args:
        size: Width and height in inches.
        title: Stands above it.
        warning: What a reader must know before trusting the figure; in red above the title.
    """
    figure = Figure(figsize=size, layout='constrained')
    FigureCanvasAgg(figure)
    figure.suptitle(f'\n{title}' if warning else title, fontsize=_fitting(title, size[0]))
    if warning:
        style = dict(fontsize=_fitting(warning, size[0]), fontweight='bold', color='crimson')
        figure.text(0.5, 1 - 0.06 / size[1], warning, ha='center', va='top', **style)
    return figure


def _fitting(text: str, width: float) -> float:
    """Size of letters, in points, at which no line is wider than so many inches."""
    longest = max(map(len, text.splitlines()))
    return min(11, 0.96 * width * 72 / (_LETTER_WIDTH * longest))


def save_figure(figure: Figure, out_file: Union[str, Path], dpi: int = 110) -> Path:
    """Write a PNG, whose folder is created; returns its path."""
    out_file = Path(out_file)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out_file, dpi=dpi)
    return out_file
