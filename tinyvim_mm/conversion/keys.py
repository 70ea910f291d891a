"""The keys that whole models of this project have, and what a checkpoint of others may be."""

from typing import Dict, Mapping

from torch import Tensor, nn

from ..core.errors import CheckpointError
from ..models.backbones.base import StagedBackbone
from ..weights.keys import LoadReport
from .layouts import BACKBONE, convert
from .recognition import find_backbone


def project_keys(state: Mapping[str, Tensor], origin: str) -> Dict[str, Tensor]:
    """Rename what is in the layout of the release; the backbone's keys begin with ``backbone.``.

    Args:
        state: Tensors by name, of a classifier, detector, segmentor or bare backbone.
        origin: What to call it in an error.

    Raises:
        CheckpointError: It has no such prefix and holds no whole backbone.
    """
    inside = backbone_part(state)
    if not inside:
        return convert(state, origin).state
    own = find_backbone(inside, origin).translate(inside, origin)
    others = {k: v for k, v in state.items() if not k.startswith(BACKBONE)}
    return {**{BACKBONE + k: v for k, v in own.items()}, **others}


def backbone_part(state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """What a state dict of a whole model holds of its backbone, without the prefix."""
    return {key[len(BACKBONE) :]: v for key, v in state.items() if key.startswith(BACKBONE)}


def recognize(model: nn.Module, state: Mapping[str, Tensor], report: LoadReport) -> str:
    """A sentence that says what a ``state`` that does not fit may be; empty if nothing tells."""
    own = getattr(model, 'backbone', None)
    if not isinstance(own, StagedBackbone):
        return ''
    backbone = backbone_part(state)
    try:
        other = find_backbone(backbone or state, 'the file')
        part = other.translate(backbone or dict(state))
    except CheckpointError:
        return '' if backbone else ' It holds no backbone.'
    if not isinstance(own, other):
        arch = other.find_arch(part)
        return f' It holds a {other.title(arch) if arch else other.__name__}.'
    sentence = own.recognize(part)
    if sentence:
        return sentence.split(': build with')[0].rstrip('.') + ': choose the config of its size.'
    if not backbone:
        return ' It holds a classifier in the layout of the release, or a backbone alone.'
    heads = [key for key in report.missing if not key.startswith(BACKBONE)]
    if heads and all(key.startswith(BACKBONE) for key in report.used):
        return ' It holds weights of the backbone, but none of the rest of this model.'
    return ''
