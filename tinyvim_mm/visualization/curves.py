"""Loss and learning rate over the steps of a training."""

from pathlib import Path
from typing import List, Mapping, Sequence, Tuple, Union

from .figure import new_figure, save_figure

#: One logged step of a training: ``step``, ``loss`` with its parts, ``lr``.
Record = Mapping[str, float]


def smooth(values: Sequence[float], weight: float = 0.8) -> List[float]:
    """Exponential moving average, with ``weight`` of the past, not biased to the first value."""
    total, norm, smoothed = 0.0, 0.0, []
    for value in values:
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        smoothed.append(total / norm)
    return smoothed


def plot_training(records: Sequence[Record], out_file: Union[str, Path], title: str) -> Path:
    """Draw the total loss, its parts and the learning rate; returns the path of the PNG.

    Args:
        records: The logged steps, in order.
        out_file: PNG to write; its folder is created.
        title: Stands above the picture.
    """
    steps = [record['step'] for record in records]
    names = loss_parts(records)
    several = len(names) > 1  # a single part is the total again
    figure = new_figure((9, 8.5 if several else 5.5), title)
    heights = [3, 3, 1.5] if several else [3, 1.5]
    total, *between, rate = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)

    _draw(total, steps, [record['loss'] for record in records], 'total loss', 'black')
    for parts in between:
        for index, name in enumerate(names):
            logged = [record for record in records if name in record]
            places = [record['step'] for record in logged]
            _draw(parts, places, [record[name] for record in logged], name, f'C{index}')
        parts.set_title('its parts', fontsize=10)
        parts.legend(fontsize=8, ncols=2)
    logged = [record for record in records if 'lr' in record]
    rate.plot([r['step'] for r in logged], [r['lr'] for r in logged], color='C7')

    rate.set_ylabel('learning rate')
    rate.set_xlabel('training step')
    rate.grid(alpha=0.3)
    total.set_title('total loss', fontsize=10)
    rate.ticklabel_format(axis='y', style='sci', scilimits=(0, 0))
    for axes in (total, *between):
        axes.set_ylabel('loss')
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=0)
    legend = 'faint: as logged, strong: moving average'
    place = dict(transform=total.transAxes, ha='right', va='top', fontsize=8)
    total.text(0.99, 0.95, legend, **place)
    return save_figure(figure, out_file)


def plot_scores(
    curves: Mapping[str, Sequence[Tuple[float, float]]],
    out_file: Union[str, Path],
    title: str,
    axes: Tuple[str, str],
) -> Path:
    """Draw scores of several trainings over their length; returns the path of the PNG.

    Args:
        curves: Name to points ``(step, score)``; of the name ``NAME, seed N`` dashed, in the
            color of ``NAME``.
        out_file: PNG to write; its folder is created.
        title: Stands above the picture.
        axes: What runs to the right, and upward.
    """
    figure = new_figure((9, 5.5), title)
    plot = figure.subplots()
    colors: dict = {}
    for name, points in curves.items():
        base, _, seed = name.partition(', seed ')
        color = colors.setdefault(base, f'C{len(colors)}')
        last = f': {points[-1][1]:.1f}' if points else ''
        style = dict(color=color, linestyle='--' if seed else '-', marker='.')
        plot.plot([x for x, _ in points], [y for _, y in points], label=name + last, **style)
    plot.set_xlabel(axes[0])
    plot.set_ylabel(axes[1])
    plot.grid(alpha=0.3)
    plot.legend(fontsize=8, title='after the last validation', title_fontsize=8)
    return save_figure(figure, out_file)


def loss_parts(records: Sequence[Record]) -> List[str]:
    """Names of the losses that are summed up in ``loss``, in the order of the log."""
    names = {name: None for record in records for name in record}
    return [name for name in names if 'loss' in name and name != 'loss']


def _draw(axes, steps: Sequence[float], values: Sequence[float], label: str, color: str) -> None:
    axes.plot(steps, values, color=color, alpha=0.3, linewidth=1)
    axes.plot(steps, smooth(values), color=color, linewidth=1.8, label=label)
