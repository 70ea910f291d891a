"""The keys that whole models of this project have, from those of any released checkpoint."""

from typing import Dict, Mapping, Optional, Type

from torch import Tensor

from ..models.backbones.base import StagedBackbone
from .layouts import convert, find_backbone

BACKBONE = 'backbone.'


def project_keys(
    state: Mapping[str, Tensor], origin: str, backbone: Optional[Type[StagedBackbone]] = None
) -> Dict[str, Tensor]:
    """Rename what is in the layout of the release.

    Args:
        state: Tensors by name, of a classifier, detector, segmentor or bare backbone.
        origin: What to call it in an error.
        backbone: Class of the backbone; ``None`` recognises it by its keys.

    Returns:
        The same tensors; those of the backbone begin with :data:`BACKBONE`.

    Raises:
        CheckpointError: It has no such prefix and holds no whole backbone.
    """
    if not any(key.startswith(BACKBONE) for key in state):
        return convert(state, origin, backbone=backbone).state
    inside = {k[len(BACKBONE) :]: v for k, v in state.items() if k.startswith(BACKBONE)}
    backbone = backbone or find_backbone(inside, origin)
    own = {BACKBONE + k: v for k, v in backbone.translate(inside, origin).items()}
    return {**own, **{k: v for k, v in state.items() if not k.startswith(BACKBONE)}}
