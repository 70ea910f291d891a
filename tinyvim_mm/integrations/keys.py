"""The keys that whole models of this project have, from those of any checkpoint of TinyViM."""

from typing import Dict, Mapping

from torch import Tensor

from ..checkpoint import translate_key
from ..conversion import convert
from ..models import TinyViM

BACKBONE = 'backbone.'


def project_keys(state: Mapping[str, Tensor], origin: str) -> Dict[str, Tensor]:
    """Rename what is in the layout of the release.

    Args:
        state: Tensors by name, of a classifier, detector, segmentor or bare backbone.
        origin: What to call it in an error.

    Returns:
        The same tensors; those of the backbone begin with :data:`BACKBONE`.

    Raises:
        CheckpointError: It has no such prefix and holds no whole TinyViM.
    """
    if not any(key.startswith(BACKBONE) for key in state):
        return convert(state, origin).state
    rules = TinyViM.released_key_rules
    return {
        BACKBONE + translate_key(key[len(BACKBONE) :], rules)
        if key.startswith(BACKBONE)
        else key: v
        for key, v in state.items()
    }
