"""Memory of processes over time."""

from pathlib import Path
from typing import Mapping, Sequence, Tuple, Union

from .figure import new_figure, save_figure

#: Seconds and MiB.
Samples = Sequence[Tuple[float, float]]


def plot_memory(
    series: Mapping[str, Sequence[Samples]],
    events: Mapping[str, Sequence[float]],
    out_file: Union[str, Path],
    title: str,
) -> Path:
    """Draw memory over time, with what happened meanwhile; returns the path of the PNG.

    Args:
        series: By label, the samples of one process after the other.
        events: By label, their times in seconds.
        out_file: PNG to write; its folder is created.
        title: Stands above the picture.
    """
    figure = new_figure((9, 4.5), title)
    axes = figure.subplots()
    for index, (label, processes) in enumerate(series.items()):
        for number, samples in enumerate(processes):
            times, values = [t / 60 for t, _ in samples], [value for _, value in samples]
            name = label if not number else None
            axes.plot(times, values, color=f'C{index}', linewidth=1.2, label=name)
    axes.set_ylim(bottom=0)
    for index, (label, times) in enumerate(events.items(), len(series)):
        places = [t / 60 for t in times]
        axes.plot(places, [0] * len(places), '^', color=f'C{index}', label=label, clip_on=False)
    axes.set_xlabel('minutes')
    axes.set_ylabel('memory in MiB')
    axes.grid(alpha=0.3)
    if series or events:
        axes.legend(fontsize=8, ncols=2)
    return save_figure(figure, out_file)
