"""EfficientNets of the package ``efficientnet_pytorch`` and its kin, under the keys of timm."""

import re
from typing import Dict, Iterable, List, Mapping

from torch import Tensor

_BLOCK = re.compile(r'_blocks\.(\d+)\.(_\w+)\.(.+)')
_AROUND = {
    '_conv_stem': 'conv_stem',
    '_bn0': 'bn1',
    '_conv_head': 'conv_head',
    '_bn1': 'bn2',
    '_fc': 'classifier',
}
# A block that does not widen its input lacks the first two, and timm counts from there.
_WIDENING = {
    '_expand_conv': 'conv_pw',
    '_bn0': 'bn1',
    '_depthwise_conv': 'conv_dw',
    '_bn1': 'bn2',
    '_project_conv': 'conv_pwl',
    '_bn2': 'bn3',
}
_PLAIN = {'_depthwise_conv': 'conv_dw', '_bn1': 'bn1', '_project_conv': 'conv_pw', '_bn2': 'bn2'}
_GATE = {'_se_reduce': 'se.conv_reduce', '_se_expand': 'se.conv_expand'}


def has_foreign_keys(state: Mapping[str, Tensor]) -> bool:
    """Whether weights have the keys of that package."""
    return '_conv_stem.weight' in state and any(map(_BLOCK.match, state))


def to_timm(state: Mapping[str, Tensor], wanted: Iterable[str]) -> Dict[str, Tensor]:
    """Rename weights; a key that has no counterpart keeps its name.

    Args:
        state: With :func:`has_foreign_keys`. Blocks are counted through all stages.
        wanted: Keys of timm's model, which say how many blocks each stage has.

    Returns:
        The same tensors, in the same order.
    """
    blocks = _blocks(wanted)
    matches = filter(None, map(_BLOCK.match, state))
    widening = {match[1] for match in matches if match[2] == '_expand_conv'}
    renamed = {}
    for key, value in state.items():
        match = _BLOCK.match(key)
        if match and int(match[1]) < len(blocks):
            inside = _WIDENING if match[1] in widening else _PLAIN
            part = {**inside, **_GATE}.get(match[2], match[2])
            key = f'{blocks[int(match[1])]}.{part}.{match[3]}'
        elif not match:
            first, _, rest = key.partition('.')
            key = f'{_AROUND.get(first, first)}.{rest}'
        renamed[key] = value
    return renamed


def _blocks(wanted: Iterable[str]) -> List[str]:
    """``blocks.STAGE.NUMBER`` of each block, from the first to the last."""
    found = (re.search(r'blocks\.\d+\.\d+', key) for key in wanted)
    return list(dict.fromkeys(match[0] for match in found if match))
