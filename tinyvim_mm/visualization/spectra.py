"""Spectra of the mixers: profiles, and the two branches of Laplace mixers in two dimensions."""

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
    """Amplitudes of the frequencies of some maps.

    Attributes:
        size: Height and width of the maps.
        amplitude: ``(H, W)``, frequency zero in the middle.
    """

    size: Tuple[int, int]
    amplitude: np.ndarray

    def log_amplitude(self) -> np.ndarray:
        """``(H, W)``, decadic logarithm of the amplitudes over the largest."""

    def log_profile(self) -> Tuple[np.ndarray, np.ndarray]:
        """Frequencies as shares of Nyquist's, and the logarithms of their amplitudes."""


class Place(Protocol):
    """Where a mixer stands.

    Attributes:
        name: Name of the module in the backbone.
        stage: Its stage, counted from 0.
    """

    name: str
    stage: int


class MixerSpectra(Protocol):
    """The spectra at one mixer.

    Attributes:
        mixer: Where it stands.
        before: Spectrum of the mixer's input.
        after: Spectrum of its output.
        scans: Spectra of input and output of each scanning layer in it, by name.
        branches: Of a Laplace mixer: spectra of input and output of the branches ``'low'``
            and ``'high'``.
    """

    mixer: Place
    before: Spectrum
    after: Spectrum
    scans: Dict[str, Tuple[Spectrum, Spectrum]]
    branches: Dict[str, Tuple[Spectrum, Spectrum]]


def draw_profiles(found: Sequence[MixerSpectra], title: str, warning: Optional[str]) -> Figure:
    """Log amplitude against frequency, a panel for each stage.

    Args:
        found: The spectra of all mixers, in order.
        title: Stands above it.
        warning: See :func:`~tinyvim_mm.visualization.figure.new_figure`.
    """
    stages = sorted({spectra.mixer.stage for spectra in found})
    figure = new_figure((3.1 * len(stages) + 0.6, 3.9), title, warning)
    panels = figure.subplots(1, len(stages), sharey=True, squeeze=False)[0]
    for axes, stage in zip(panels, stages, strict=True):
        here = [spectra for spectra in found if spectra.mixer.stage == stage]
        for index, spectra in enumerate(here):
            _draw_mixer(axes, spectra, f'C{2 * index}', f'C{2 * index + 1}')
        height, width = here[0].before.size
        names = [spectra.mixer.name.removeprefix(f'stages.{stage}.') for spectra in here]
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

    Args:
        found: The spectra of the Laplace mixers, in order; at least one.
        title: Stands above it.
        warning: See :func:`~tinyvim_mm.visualization.figure.new_figure`.
    """
    figure = new_figure((1.9 * len(found) + 1.6, 8.6), title, warning)
    grid = figure.subplots(4, len(found), squeeze=False)
    for column, spectra in enumerate(found):
        for row, name in enumerate(('low', 'high')):
            before, after = spectra.branches[name]
            levels = _show(grid[2 * row, column], after.log_amplitude(), 'magma', -_DECADES, 0)
            change = np.log10(
                np.maximum(after.amplitude, 1e-30) / np.maximum(before.amplitude, 1e-30)
            )
            changes = _show(grid[2 * row + 1, column], change, 'RdBu_r', -_CHANGE, _CHANGE)
        grid[0, column].set_title(_caption(spectra), fontsize=9)
    labels = ('low branch: output', 'low: output / input', 'high branch: output')
    for axes, label in zip(grid[:, 0], (*labels, 'high: output / input'), strict=True):
        axes.set_ylabel(label, fontsize=9)
    for index, row in enumerate(grid):
        image, label, extend = (
            (changes, 'log10, red: amplified', 'both')
            if index % 2
            else (levels, 'log10, over the largest', 'min')
        )
        bar = figure.colorbar(image, ax=row.tolist(), shrink=0.9, extend=extend)
        bar.set_label(label, fontsize=8)
    return figure


def _draw_mixer(axes: 'Axes', spectra: MixerSpectra, colour: str, scan_colour: str) -> None:
    _profile(axes, spectra.before, 1.0, color=colour, **_BEFORE)
    _profile(axes, spectra.after, 1.0, color=colour, **_AFTER)
    for before, after in spectra.scans.values():
        # On the frequencies of the mixer's map: the grid of a scan may be coarser.
        share = min(before.size) / min(spectra.before.size)
        _profile(axes, before, share, color=scan_colour, **_BEFORE, **_SCAN)
        _profile(axes, after, share, color=scan_colour, **_AFTER, **_SCAN)


def _profile(axes: 'Axes', spectrum: Spectrum, share: float, **style: object) -> None:
    frequencies, amplitudes = spectrum.log_profile()
    axes.plot(frequencies * share, amplitudes, **style)


def _show(axes: 'Axes', values: np.ndarray, colours: str, low: float, high: float) -> object:
    axes.set_xticks([])
    axes.set_yticks([])
    return axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation='nearest')


def _caption(spectra: MixerSpectra) -> str:
    height, width = spectra.before.size
    name = spectra.mixer.name.removeprefix('stages.').split('.')
    block = next((part for part in name[1:] if part.isdigit()), '')
    return f'stage {spectra.mixer.stage + 1}, block {int(block or 0) + 1}\n{height} x {width}'
