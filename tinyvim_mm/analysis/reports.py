"""What each analysis measures, draws, prints and writes down.

They take networks, names of pictures, and the pictures: RGB ``(H, W, 3)``, uint8, of one size.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import torch

from ..visualization.activations import FP16_MAX, draw_activations
from ..visualization.feature_maps import draw_feature_maps
from ..visualization.receptive_fields import Panel, draw_fields
from ..visualization.spectra import draw_branches, draw_profiles
from .activations import measure_activations
from .feature_maps import describe_stages
from .networks import Network
from .peers import PeerError
from .receptive_field import (
    NoFieldError,
    area_shares,
    effective_receptive_field,
    pick_size,
    pick_stage,
)
from .spectrum import facts_of, measure_spectra

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Report:
    """What an analysis found.

    Attributes:
        networks: That were looked at.
        figures: By the names of their files.
        facts: The numbers behind them, in plain values.
    """

    networks: Sequence[Network]
    figures: Dict[str, 'Figure']
    facts: Dict[str, Any]


def spectra(network: Network, names: Sequence[str], pictures: Sequence[np.ndarray]) -> Report:
    """Frequencies before and after the mixers that scan, and in the two branches of Laplace mixers.

    Raises:
        UsageError: The network has no layer that scans.
    """
    found = measure_spectra(network, pictures)
    about, warning = _about(network, names), _warning([network])
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
            shares = (side['share_of_power_above_half_nyquist'] for side in pair.values())
            print(f'  {label:<36} {" ".join(f"{share:7.2%}" for share in shares)}')
    return Report([network], figures, {'mixers': facts})


def receptive_fields(
    networks: Sequence[Network],
    names: Sequence[str],
    pictures: Sequence[np.ndarray],
    stage: int,
    peers: Sequence[str],
    load_peer: Callable[[str], Network],
) -> Report:
    """Effective receptive fields, side by side.

    Args:
        networks: At least one.
        names: Of the pictures.
        pictures: All of one size.
        stage: Of which stage, from 1, or -1 for the last; of peers the output of the same
            size.
        peers: Networks of timm to draw beside.
        load_peer: Builds one by its name.

    Raises:
        UsageError: There is no such stage.
    """
    panels: List[Panel] = []
    facts: List[Dict[str, Any]] = []
    measured: List[Network] = []

    def measure(network: Network, pick: Callable) -> None:
        field = effective_receptive_field(
            lambda image: pick(network, network.outputs(image)),
            [network.normalize([picture]) for picture in pictures],
        )
        areas = area_shares(field)
        panels.append(Panel(f'{network.name}\n{network.described_weights}', field, areas))
        facts.append({**network.facts(), 'area_that_holds': areas})
        shares = '   '.join(f'{share} in {area:6.2%}' for share, area in areas.items())
        print(f'  {network.name:<24} {shares}')
        measured.append(network)

    print('Share of the area that holds a share of the contribution:')
    own = partial(pick_stage, stage=stage)
    for network in networks:
        measure(network, own)
    theirs = own
    if stage > 0 and peers:
        with torch.no_grad():
            maps = networks[0].outputs(networks[0].normalize(pictures[:1]))
        theirs = partial(pick_size, size=tuple(own(networks[0], maps).shape[2:]))
    for name in peers:
        try:
            measure(load_peer(name), theirs)
        except (PeerError, NoFieldError) as problem:
            panels.append(Panel(name, problem=str(problem)))
            facts.append({'name': name, 'problem': str(problem)})
            print(f'  {name:<24} NOT MEASURED: {problem}')
    where = 'the last stage' if stage == -1 else f'stage {stage}'
    height, width = pictures[0].shape[:2]
    title = (
        f'Effective receptive field of {where}, {height} x {width}, mean of '
        f'{_pictures(names)}\nbelow: share of the area that holds a share of the contribution'
    )
    figure = draw_fields(panels, title, _warning(measured))
    return Report(measured, {'erf': figure}, {'stage': stage, 'fields': facts})


def features(network: Network, names: Sequence[str], pictures: Sequence[np.ndarray]) -> Report:
    """Feature maps of the stages beside the pictures."""
    maps = [describe_stages(network, picture) for picture in pictures]
    title = f'Outputs of the stages: {network.name}, {network.described_weights}'
    figure = draw_feature_maps(pictures, maps, title, _warning([network]))
    facts = [[stage.facts() for stage in stages] for stages in maps]
    stages = dict(zip(names, facts, strict=True))
    return Report([network], {'features': figure}, {'stages': stages})


def activations(network: Network, names: Sequence[str], pictures: Sequence[np.ndarray]) -> Report:
    """Statistics of every layer, and which come near the limits of fp16."""
    layers = measure_activations(network, pictures)
    title = f'Outputs of the layers: {_about(network, names)}'
    figure = draw_activations(layers, title, _warning([network]))
    print(f'{"largest of " + str(len(layers)) + " layers":<44} max abs  of fp16       std')
    for layer in sorted(layers, key=lambda layer: -layer.max_abs)[:8]:
        share = layer.max_abs / FP16_MAX
        print(f'  {layer.name:<40} {layer.max_abs:9.3g} {share:8.2%} {layer.std:9.3g}')
    broken = [layer.name for layer in layers if layer.non_finite]
    if broken:
        print(f'NOT FINITE in {len(broken)} layers, first in {broken[0]}')
    facts = {'layers': [layer.facts() for layer in layers]}
    return Report([network], {'activations': figure}, facts)


def _about(network: Network, names: Sequence[str]) -> str:
    return f'{network.name}, {network.described_weights}, {_pictures(names)}'


def _pictures(names: Sequence[str]) -> str:
    return f'{len(names)} picture{"s" if len(names) > 1 else ""}'


def _warning(networks: Sequence[Network]) -> Optional[str]:
    random = [network for network in networks if not network.weights]
    if not random:
        return None
    mixed = f' in {len(random)} of {len(networks)} panels' if len(random) < len(networks) else ''
    return f'RANDOM WEIGHTS{mixed}: the architecture alone, no trained network'
