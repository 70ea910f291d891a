"""Effective receptive fields (Luo et al., NeurIPS 2016, arXiv 1701.04128)."""

from functools import partial
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ..core.errors import UsageError
from ..visualization.receptive_fields import Panel, draw_fields
from .networks import Network
from .peers import PeerError
from .reports import Report, count, warning_of

#: Shares of the contribution for which the area is reported.
SHARES = (0.5, 0.9, 0.99)


class NoFieldError(UsageError):
    """A network's receptive field cannot be measured; the message says why."""


def effective_receptive_field(
    outputs: Callable[[Tensor], Tensor], images: Sequence[Tensor]
) -> np.ndarray:
    """How much each pixel matters to the center of the output.

    The channels of the output's center are summed up, as the paper does, and the absolute
    gradient of the sum is averaged over images and colors.

    Args:
        outputs: From an image ``(1, channels, H, W)`` to a map ``(1, c, h, w)``.
        images: Each ``(1, channels, H, W)``, of one size.

    Returns:
        ``(H, W)``, of sum 1.

    Raises:
        NoFieldError: The gradient is zero or not finite.
    """
    total = 0.0
    for image in images:
        image = image.detach().requires_grad_()
        output = outputs(image)
        center = output[0, :, output.shape[2] // 2, output.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(center, image)
        total = total + gradient[0].double().abs().mean(0)
    field = total.cpu().numpy()
    if not np.isfinite(field).all() or not field.any():
        raise NoFieldError(
            'the gradient of the center is zero or not finite: no receptive field can be told. Are '
            'the weights damaged?'
        )
    return field / field.sum()


def area_shares(field: np.ndarray) -> Dict[str, float]:
    """Least share of the area of a field ``(H, W)`` that holds each of :data:`SHARES` of it."""
    cumulated = np.cumsum(np.sort(field, axis=None)[::-1])
    # Less a rounding error of the sum, which would cost a pixel.
    limits = np.array(SHARES) * cumulated[-1] * (1 - 1e-9)
    pixels = np.searchsorted(cumulated, limits) + 1
    return {f'{share:.0%}': float(n / field.size) for share, n in zip(SHARES, pixels, strict=True)}


def pick_stage(network: Network, maps: Sequence[Tensor], stage: int) -> Tensor:
    """The map of one stage among those of all, counted from 1; or from the end, -1 the last.

    Raises:
        NoFieldError: There is no such stage.
    """
    index = stage - 1 if stage > 0 else len(maps) + stage
    if not 0 <= index < len(maps):
        raise NoFieldError(f'--stage {stage}: {network.name} has {len(maps)} stages')
    return maps[index]


def pick_size(network: Network, maps: Sequence[Tensor], size: Tuple[int, int]) -> Tensor:
    """The last map of a height and width: other packages may count stages otherwise.

    Raises:
        NoFieldError: None is of this size.
    """
    fitting = [m for m in maps if tuple(m.shape[2:]) == tuple(size)]
    if not fitting:
        sizes = ', '.join(f'{m.shape[2]} x {m.shape[3]}' for m in maps)
        raise NoFieldError(
            f'{network.name} has no output of {size[0]} x {size[1]}, which that stage has, but '
            f'of {sizes}'
        )
    return fitting[-1]


def receptive_fields(
    networks: Sequence[Network],
    names: Sequence[str],
    pictures: Sequence[np.ndarray],
    stage: int,
    peers: Sequence[str],
    load_peer: Callable[[str], Network],
) -> Report:
    """Effective receptive fields, side by side.

    They are of one stage, from 1, or -1 for the last; of peers, which ``load_peer`` builds by
    name, of the output of the same size.
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
        f'{count(names)}\nbelow: share of the area that holds a share of the contribution'
    )
    figure = draw_fields(panels, title, warning_of(measured))
    return Report(measured, {'erf': figure}, {'stage': stage, 'fields': facts})
