"""Spectra of the mixers: profiles, and the two branches of Laplace mixers in two dimensions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, Optional, Protocol, Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BEFORE, _AFTER = {'linestyle': '--'}, {'linestyle': '-'}
_SCAN = {'marker': '.', 'markersize': 4, 'linewidth': 1}
#: Decades that the two-dimensional pictures show: of amplitudes, and of their change.
_DECADES, _CHANGE = 2.5, 1.0


class Spectrum(Protocol):
    """What is drawn of :class:`tinyvim_mm.analysis.spectrum.Spectrum`."""

    size: Tuple[int, int]
    amplitude: np.ndarray

    def log_amplitude(self) -> np.ndarray: ...
    def log_profile(self) -> Tuple[np.ndarray, np.ndarray]: ...


@dataclass
class MixerSpectra:
    """The spectra at one mixer, each a pair: of the input and of the output.

    Attributes:
        name: Name of the mixer in the backbone.
        stage: Its stage, counted from 0.
        mixer: Its own spectra.
        scans: Those of each scanning layer in it, by name.
        branches: Of a Laplace mixer: those of the branches ``'low'`` and ``'high'``.
    """

    name: str
    stage: int
    mixer: Tuple[Spectrum, Spectrum]
    scans: Dict[str, Tuple[Spectrum, Spectrum]]
    branches: Dict[str, Tuple[Spectrum, Spectrum]]

    @property
    def size(self) -> Tuple[int, int]:
        """Height and width of the mixer's map."""
        return self.mixer[0].size


def draw_profiles(found: Sequence[MixerSpectra], title: str, warning: Optional[str]) -> Figure:
    """Log amplitude against frequency of all mixers in order, a panel for each stage.

    Title and warning are those of :func:`.new_figure`.
    """
    stages = sorted({spectra.stage for spectra in found})
    figure = new_figure((3.1 * len(stages) + 0.6, 3.9), title, warning)
    panels = figure.subplots(1, len(stages), sharey=True, squeeze=False)[0]
    for axes, stage in zip(panels, stages, strict=True):
        here = [spectra for spectra in found if spectra.stage == stage]
        for index, spectra in enumerate(here):
            _draw_mixer(axes, spectra, f'C{2 * index}', f'C{2 * index + 1}')
        height, width = here[0].size
        names = [spectra.name.removeprefix(f'stages.{stage}.') for spectra in here]
        axes.set_title(f'stage {stage + 1}, {height} x {width}', fontsize=10)
        if len(here) > 1:
            handles = [
                Line2D([], [], color=f'C{2 * i + scan}', label=f'{name}{", scan" * scan}')
                for i, name in enumerate(names)
                for scan in range(1 + bool(here[i].scans))
            ]
            axes.legend(handles=handles, fontsize=7, loc='upper right')
        axes.set_xlabel('frequency / Nyquist', fontsize=9)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel('log10 amplitude, over the largest', fontsize=9)
    handles = [
        Line2D([], [], color='C0', label='into the mixer', **_BEFORE),
        Line2D([], [], color='C0', label='out of the mixer', **_AFTER),
    ]
    if any(spectra.scans for spectra in found):
        handles += [
            Line2D([], [], color='C1', label='into the scan in it', **_BEFORE, **_SCAN),
            Line2D([], [], color='C1', label='out of the scan', **_AFTER, **_SCAN),
        ]
    figure.legend(handles=handles, loc='outside lower center', ncols=4, fontsize=8)
    return figure


def draw_branches(found: Sequence[MixerSpectra], title: str, warning: Optional[str]) -> Figure:
    """Two-dimensional spectra of the branches of Laplace mixers, and how they change.

    They are at least one. Title and warning are those of :func:`.new_figure`.
    """
    figure = new_figure((1.9 * len(found) + 1.6, 8.6), title, warning)
    grid = figure.subplots(4, len(found), squeeze=False)
    for column, spectra in enumerate(found):
        for row, name in enumerate(('low', 'high')):
            before, after = spectra.branches[name]
            levels = _show(grid[2 * row, column], after.log_amplitude(), 'magma', -_DECADES, 0)
            output, input_ = (np.maximum(side.amplitude, 1e-30) for side in (after, before))
            change = np.log10(output / input_)
            changes = _show(grid[2 * row + 1, column], change, 'RdBu_r', -_CHANGE, _CHANGE)
        grid[0, column].set_title(_caption(spectra), fontsize=9)
    labels = ('low branch: output', 'low: output / input', 'high branch: output')
    for axes, label in zip(grid[:, 0], (*labels, 'high: output / input'), strict=True):
        axes.set_ylabel(label, fontsize=9)
    for index, row in enumerate(grid):
        image, label, extend = levels, 'log10, over the largest', 'min'
        if index % 2:
            image, label, extend = changes, 'log10, red: amplified', 'both'
        bar = figure.colorbar(image, ax=row.tolist(), shrink=0.9, extend=extend)
        bar.set_label(label, fontsize=8)
    return figure


def _draw_mixer(axes: 'Axes', spectra: MixerSpectra, color: str, scan_color: str) -> None:
    pairs = [(spectra.mixer, {'color': color})]
    pairs += [(pair, {'color': scan_color, **_SCAN}) for pair in spectra.scans.values()]
    for pair, style in pairs:
        for spectrum, line in zip(pair, (_BEFORE, _AFTER), strict=True):
            frequencies, amplitudes = spectrum.log_profile()
            # On the frequencies of the mixer's map: the grid of a scan may be coarser.
            share = min(spectrum.size) / min(spectra.size)
            axes.plot(frequencies * share, amplitudes, **style, **line)


def _show(axes: 'Axes', values: np.ndarray, colors: str, low: float, high: float) -> object:
    axes.set_xticks([])
    axes.set_yticks([])
    return axes.imshow(values, cmap=colors, vmin=low, vmax=high, interpolation='nearest')


def _caption(spectra: MixerSpectra) -> str:
    height, width = spectra.size
    name = spectra.name.removeprefix('stages.').split('.')
    block = next((part for part in name[1:] if part.isdigit()), '')
    return f'stage {spectra.stage + 1}, block {int(block or 0) + 1}\n{height} x {width}'
