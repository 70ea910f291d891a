"""Networks of timm to look at beside the others."""

import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ..core.devices import find_device
from ..core.environment import with_hint
from ..recipes.starting_weights import existing_checkpoint
from ..weights.files import load_file
from ..weights.keys import extract_state_dict
from .networks import Network, settle_norms

#: What networks of timm raise where a size, an option or a checkpoint does not suit them.
_PEER_ERRORS = (
    *(RuntimeError, AssertionError, ValueError, TypeError),
    *(AttributeError, LookupError, NotImplementedError),
)


class PeerError(Exception):
    """A network of another package cannot be looked at; the message says why."""


def load_peer(
    name: str,
    size: Tuple[int, int],
    pictures: Sequence[np.ndarray],
    *,
    device: Optional[str] = None,
    seed: int = 0,
) -> Network:
    """Build a network of timm; what is not said here: see :func:`~.networks.load_networks`.

    Args:
        name: As timm knows it; or ``name=FILE`` to load a checkpoint.
        size: Of the images, for networks that are built for one size.

    Raises:
        PeerError: timm is missing, does not know the name, or cannot build or run it so.
    """
    if find_spec('timm') is None:
        raise PeerError(with_hint('timm is not installed: pip install timm'))
    import timm

    name, _, checkpoint = name.partition('=')
    if not timm.is_model(name):
        near = timm.list_models(f'*{name.split("_")[0]}*')[:5]
        hint = f'; it has {", ".join(near)}' if near else ''
        raise PeerError(f'timm {timm.__version__} has no {name}{hint}')
    options: Dict[str, Any] = {}
    if checkpoint:
        # Read here: older versions of timm let a file run code.
        file = load_file(existing_checkpoint(checkpoint, f'--peers {name}'))
        state = extract_state_dict(file, checkpoint)
        options = {'pretrained': True, 'pretrained_cfg_overlay': {'state_dict': state}}
    if timm.get_pretrained_cfg(name).fixed_input_size:
        options['img_size'] = size
    torch.manual_seed(seed)
    try:
        backbone = timm.create_model(name, features_only=True, **options)
    except _PEER_ERRORS as error:
        raise PeerError(f'timm cannot build {name} so: {_brief(error)}') from error
    backbone.to(find_device(device)).eval().requires_grad_(False)
    channels = backbone.feature_info.channels()

    def outputs(images: Tensor) -> List[Tensor]:
        maps = backbone(images)
        # Some of timm's networks keep the channels last.
        return [
            m if m.shape[1] == c else m.permute(0, 3, 1, 2)
            for m, c in zip(maps, channels, strict=True)
        ]

    network = Network(name, backbone, Path(checkpoint).name if checkpoint else None, outputs)
    try:
        with torch.no_grad():
            outputs(network.normalize(pictures[:1]))
    except _PEER_ERRORS as error:
        raise PeerError(f'{name} does not run so: {_brief(error)}') from error
    if not network.weights:
        settle_norms(network, pictures)
    return network


def _brief(error: Exception) -> str:
    return textwrap.shorten(f'{type(error).__name__}: {error}', 200, placeholder=' ...')
