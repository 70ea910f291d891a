"""The networks that are looked at: of a config, or of an architecture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, List, Mapping, Optional, Sequence

import numpy as np
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.devices import find_device
from ..core.errors import UsageError
from ..export.description import preprocessor_of
from ..models import reparameterize
from ..models.catalogue import build_network
from ..recipes.building import building
from ..recipes.configs import find_config, load_config, merge_options
from ..recipes.model_folder import weights_in
from ..recipes.starting_weights import existing_checkpoint
from ..weights.load import Policy, load_into
from .recording import stage_outputs

#: Stands for no checkpoint where several networks are named.
RANDOM = 'random'
#: Mean and standard deviation of ImageNet's RGB values, for networks without a config.
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
#: Layer scales begin at 1e-6 or 1e-5 where they do not begin at 1.
_NEAR_ZERO = 1e-3
#: Pictures, all at a time, from which batch norms get their statistics.
_SETTLING = 8


@dataclass
class Network:
    """A backbone, the weights that it has, and the input that it takes.

    Attributes:
        name: What titles and reports call it.
        backbone: In evaluation mode, without gradients of parameters.
        weights: Name of the file, ``None`` if the weights are random.
        outputs: From normalized images ``(batch, 3, H, W)`` to a map
            ``(batch, channels, h, w)`` of each stage.
        mean: Means of the colors, 0 to 255, that the input is normalized with.
        std: Their standard deviations.
        rgb: Whether the network takes RGB, else BGR.
    """

    name: str
    backbone: nn.Module
    weights: Optional[str]
    outputs: Callable[[Tensor], List[Tensor]]
    mean: Sequence[float] = _MEAN
    std: Sequence[float] = _STD
    rgb: bool = True

    @property
    def device(self) -> torch.device:
        """The device of its parameters."""
        return next(self.backbone.parameters()).device

    @property
    def described_weights(self) -> str:
        """Where the weights come from, for titles, in capitals if they are random."""
        if self.weights:
            return f'weights: {self.weights}'
        silent = self.silent_factors()
        factors = f', {silent} factor{"s" if silent > 1 else ""} near 0' if silent else ''
        return f'RANDOM WEIGHTS{factors}'

    def silent_factors(self) -> int:
        """How many norms and layer scales have only factors near zero.

        Some networks begin their training so. A branch that is multiplied by such factors
        adds next to nothing to the output; so with random weights the measures show less
        than what the architecture can do.
        """
        factors = (
            p
            for name, p in self.backbone.named_parameters()
            # (channels,) or (channels, 1, 1); a class token is (1, 1, channels).
            if p.shape[:1].numel() > 1 and p.squeeze().dim() == 1 and not name.endswith('bias')
        )
        return sum(bool(p.abs().max() < _NEAR_ZERO) for p in factors)

    def normalize(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """RGB pictures ``(H, W, 3)``, uint8, to ``(batch, 3, H, W)`` as the network takes it."""
        images = torch.from_numpy(np.stack(pictures)).to(self.device).permute(0, 3, 1, 2).float()
        images = images if self.rgb else images.flip(1)
        mean, std = (images.new_tensor(c).view(1, 3, 1, 1) for c in (self.mean, self.std))
        return (images - mean) / std

    def facts(self) -> dict:
        """Its name and weights, as JSON takes them."""
        facts = {'name': self.name, 'weights': self.weights or RANDOM}
        return facts if self.weights else {**facts, 'factors_near_zero': self.silent_factors()}


def load_networks(
    models: Sequence[str],
    archs: Sequence[str],
    checkpoints: Optional[Sequence[str]],
    pictures: Sequence[np.ndarray],
    *,
    options: Optional[Mapping[str, Any]] = None,
    allow_new_keys: bool = False,
    device: Optional[str] = None,
    seed: int = 0,
    deploy: bool = False,
) -> List[Network]:
    """Build the backbones of configs and architectures.

    Args:
        models: This and the others are explained at :func:`.analyze`.
        archs: Names of architectures.
        checkpoints: A file for each, or :data:`RANDOM`; ``None`` for random weights of all but
            folders with trained models.
        pictures: RGB, uint8. The statistics of batch norms among random weights are taken
            from these: with the initial ones, means of 0 and variances of 1, which are true
            of nothing, signals shrink from layer to layer.

    Raises:
        UsageError: No or contradictory options, or the device is not there.
        CheckpointError: A checkpoint does not fit.
    """
    wanted = [*models, *archs]
    own = [weights_in(name) or RANDOM for name in models] + [RANDOM] * len(archs)
    checkpoints = [None if c == RANDOM else c for c in checkpoints or own]
    if not wanted:
        raise UsageError(
            'name a network: --model tinyvim_s_300e_in1k (any config) or --arch s (a bare backbone)'
        )
    if len(checkpoints) != len(wanted):
        raise UsageError(
            f'{len(checkpoints)} checkpoints for {len(wanted)} networks ({", ".join(wanted)}): '
            f'give --checkpoint one file for each, in this order, or the word {RANDOM}'
        )
    for checkpoint in filter(None, checkpoints):
        existing_checkpoint(checkpoint, '--checkpoint')
    device = find_device(device)
    networks = []
    for index, (name, checkpoint) in enumerate(zip(wanted, checkpoints, strict=True)):
        torch.manual_seed(seed)
        if index < len(models):
            network = _from_config(name, options, allow_new_keys)
        else:
            network = _from_arch(name)
        if checkpoint:
            _fill(network, checkpoint)
            network.weights = Path(checkpoint).name
        network.backbone.to(device).requires_grad_(False)
        network.backbone.eval()  # of some toolboxes' backbones this returns nothing
        if not network.weights:
            settle_norms(network, pictures)
        if deploy:
            network.backbone = reparameterize(network.backbone, inplace=True)
        networks.append(network)
    return networks


def _fill(network: Network, checkpoint: str) -> None:
    if hasattr(network.backbone, 'load_pretrained'):
        network.backbone.load_pretrained(checkpoint)
    else:  # of a toolbox
        load_into(
            network.backbone, checkpoint, Policy(name=network.name, prefixes=('backbone.', ''))
        )


def settle_norms(network: Network, pictures: Sequence[np.ndarray]) -> None:
    """Give batch norms the statistics of the first few pictures; leaves evaluation mode on."""
    norms = [m for m in network.backbone.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        network.backbone(network.normalize(pictures[:_SETTLING]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.backbone.eval()


def _from_config(name: str, options: Optional[Mapping[str, Any]], allow_new_keys: bool) -> Network:
    path = find_config(name)
    cfg = load_config(path)
    merge_options(cfg, options, name, allow_new_keys)
    if 'backbone' not in cfg.get('model', {}):
        raise UsageError(f'{name} has no model.backbone to look at')
    backbone_cfg = cfg.model.backbone.copy()
    backbone_cfg['init_cfg'] = None
    with building(cfg, name), DefaultScope.overwrite_default_scope(cfg.default_scope):
        backbone = MODELS.build(backbone_cfg)
    colors = preprocessor_of(cfg, name)
    rgb = bool(colors.get('to_rgb') or colors.get('bgr_to_rgb'))
    return _network(path.stem, backbone, mean=colors['mean'], std=colors['std'], rgb=rgb)


def _from_arch(arch: str) -> Network:
    try:
        name = arch if '_' in arch else f'tinyvim_{arch}'
        backbone = build_network(name, normalize_outputs=False)
    except ValueError as error:
        raise UsageError(f'--arch: {error}') from error
    return _network(backbone.describe(), backbone)


def _network(name: str, backbone: nn.Module, **colors: Any) -> Network:
    return Network(name, backbone, None, lambda images: stage_outputs(backbone, images), **colors)
