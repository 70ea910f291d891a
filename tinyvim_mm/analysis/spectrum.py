"""Spectra of features before and after the mixers that scan.

As in "How Do Vision Transformers Work?" (ICLR 2022, arXiv 2202.06709): the log amplitude
against the frequency, relative to the largest. That is the one at frequency zero, as in that
paper, except where a norm or a difference has taken the mean away. Maps are not windowed,
so opposite borders that do not match leave a cross in two-dimensional spectra.
"""

from functools import partial
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from ..visualization.spectra import MixerSpectra, draw_branches, draw_profiles
from .networks import Network
from .recording import Watcher, find_mixers, watching
from .reports import Report, describe, warning_of


class Spectrum:
    """Amplitude of each frequency: the root of the mean power over channels and images."""

    def __init__(self) -> None:
        self._power = np.zeros(())
        self._maps = 0

    def add(self, features: Tensor) -> None:
        """Take maps ``(batch, channels, H, W)`` into account, always of the same size."""
        maps = features.detach().double().flatten(0, 1)
        power = torch.fft.fft2(maps, norm='forward').abs().square().sum(0)
        self._power = self._power + torch.fft.fftshift(power).cpu().numpy()
        self._maps += len(maps)

    @property
    def amplitude(self) -> np.ndarray:
        """``(H, W)``, frequency zero at ``(H // 2, W // 2)``; a constant 1 has 1 there."""
        if not self._maps:
            raise ValueError('no maps were added')
        return np.sqrt(self._power / self._maps)

    @property
    def size(self) -> Tuple[int, int]:
        """Height and width of the maps."""
        return self.amplitude.shape

    def frequencies(self) -> np.ndarray:
        """``(H, W)``, distance of each from zero as a share of Nyquist's frequency."""
        rows, columns = (np.fft.fftshift(np.fft.fftfreq(n)) * 2 for n in self.size)
        return np.hypot(rows[:, None], columns[None])

    def profile(self) -> Tuple[np.ndarray, np.ndarray]:
        """Frequencies as shares of Nyquist's, 0 to 1, and mean amplitudes over their rings."""
        rings = min(self.size) // 2
        ring = np.round(self.frequencies() * rings).astype(int).ravel()
        power = np.bincount(ring, self.amplitude.ravel() ** 2)[: rings + 1]
        counts = np.bincount(ring)[: rings + 1]
        return np.arange(rings + 1) / max(rings, 1), np.sqrt(power / counts)

    def log_profile(self) -> Tuple[np.ndarray, np.ndarray]:
        """:meth:`profile` with the decadic logarithm of the amplitudes over the largest."""
        frequencies, amplitudes = self.profile()
        return frequencies, _log(amplitudes)

    def log_amplitude(self) -> np.ndarray:
        """``(H, W)``, decadic logarithm of :attr:`amplitude` over the largest."""
        return _log(self.amplitude)

    def high_share(self) -> float:
        """Share of the power at frequencies above half of Nyquist's, zero left out."""
        frequencies, power = self.frequencies(), self.amplitude**2
        varying = power[frequencies > 0].sum()
        return float(power[frequencies > 0.5].sum() / varying) if varying else 0.0


def _log(amplitude: np.ndarray) -> np.ndarray:
    """Decadic logarithm of amplitudes over the largest; nothing lies below 1e-12 of it."""
    return np.log10(np.maximum(amplitude / max(amplitude.max(), 1e-300), 1e-12))


def facts_of(spectra: MixerSpectra) -> Dict[str, Any]:
    """The spectra at a mixer as JSON takes them."""
    pairs = {'mixer': spectra.mixer, **spectra.scans}
    pairs.update({f'{name} branch': pair for name, pair in spectra.branches.items()})
    return {
        'name': spectra.name,
        'stage': spectra.stage + 1,
        'spectra': {
            name: {'before': _facts(before), 'after': _facts(after)}
            for name, (before, after) in pairs.items()
        },
    }


def spectra(network: Network, names: Sequence[str], pictures: Sequence[np.ndarray]) -> Report:
    """Frequencies before and after mixers that scan, and in the branches of Laplace mixers."""
    found = measure_spectra(network, pictures)
    about, warning = describe(network, names), warning_of([network])
    figures = {'spectrum': draw_profiles(found, f'Spectra at the mixers: {about}', warning)}
    laplace = [mixer for mixer in found if mixer.branches]
    if laplace:
        title = f'Branches of the Laplace mixers: {about}'
        figures['branches'] = draw_branches(laplace, title, warning)
    facts = list(map(facts_of, found))
    print('Share of the power above half of Nyquist, before and after:')
    for mixer in facts:
        for name, pair in mixer['spectra'].items():
            label = mixer['name'] if name == 'mixer' else f'  {name}'
            before, after = (side['share_of_power_above_half_nyquist'] for side in pair.values())
            print(f'  {label:<36} {before:7.2%} {after:7.2%}')
    return Report([network], figures, {'mixers': facts})


def measure_spectra(network: Network, pictures: Sequence[np.ndarray]) -> List[MixerSpectra]:
    """Run a network on pictures, RGB, uint8, of one size, and take the spectra at its mixers."""
    inputs: List[Tuple[nn.Module, Watcher]] = []
    outputs: List[Tuple[nn.Module, Watcher]] = []

    def around(module: nn.Module) -> Tuple[Spectrum, Spectrum]:
        pair = Spectrum(), Spectrum()
        inputs.append((module, pair[0].add))
        outputs.append((module, pair[1].add))
        return pair

    found = []
    for mixer in find_mixers(network.backbone):
        module = mixer.module
        scans = {name: around(scan) for name, scan in mixer.scans.items()}
        branches = {}
        if mixer.is_laplace:
            branches = {name: (Spectrum(), Spectrum()) for name in ('low', 'high')}
            # The branches begin behind the activation and end before the projection.
            before, after = zip(*branches.values(), strict=True)
            outputs.append((module.act, partial(_add_parts, before, module.sizes)))
            inputs.append((module.out_proj, partial(_add_parts, after, module.sizes)))
        found.append(MixerSpectra(mixer.name, mixer.stage, around(module), scans, branches))
    with watching(inputs, outputs), torch.no_grad():
        for picture in pictures:
            network.backbone(network.normalize([picture]))
    return found


def _add_parts(spectra: Sequence[Spectrum], sizes: Sequence[int], features: Tensor) -> None:
    """Hand the channels of the branches to their spectra."""
    for spectrum, part in zip(spectra, features.split(sizes, dim=1), strict=True):
        spectrum.add(part)


def _facts(spectrum: Spectrum) -> Dict[str, Any]:
    frequencies, amplitudes = spectrum.log_profile()
    return {
        'size': list(spectrum.size),
        'share_of_power_above_half_nyquist': spectrum.high_share(),
        'frequency_over_nyquist': frequencies.tolist(),
        'log10_amplitude_over_largest': amplitudes.tolist(),
    }
