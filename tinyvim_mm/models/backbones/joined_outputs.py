"""Outputs that nobody uses, in a training of several processes."""

from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, distributed

from ...ops.tracing import is_traced, is_transformed


class _Join(torch.autograd.Function):
    """The maps as they are, as the outputs of one node of the graph."""

    @staticmethod
    def forward(ctx: Any, *maps: Tensor) -> Tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        # Handed out as they came, they would be views, and none could be changed in place.
        return tuple(x.detach() for x in maps)

    @staticmethod
    def backward(ctx: Any, *gradients: Optional[Tensor]) -> Tuple[Optional[Tensor], ...]:
        return gradients


def join_outputs(maps: Sequence[Tensor]) -> Tuple[Tensor, ...]:
    """Let a loss on any of the maps reach the parameters behind all of them.

    A neck or head may leave out some maps of a backbone. The parameters behind those alone, such
    as their norms, are then in no graph, and DistributedDataParallel waits for their gradients
    for ever. Joined, they are in the graph of each loss and get no gradient there, or zeros; both
    are zeros to DistributedDataParallel. No value changes, and no other gradient. In
    one process, in an export and under ``torch.compile``, which joins all outputs itself, the
    maps come back as they are.

    Args:
        maps: Outputs of the backbone, ``(batch, channels, H, W)`` each.

    Returns:
        As many maps of the same values; they share their memory with those given.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return tuple(maps)
    if is_traced() or is_transformed() or not torch.is_grad_enabled():
        return tuple(maps)
    # Of frozen stages there is nothing to reach, and their maps shall ask for no gradient.
    trained = [i for i, x in enumerate(maps) if x.requires_grad]
    joined: List[Tensor] = list(maps)
    if len(trained) > 1:
        for i, x in zip(trained, _Join.apply(*(maps[i] for i in trained)), strict=True):
            joined[i] = x
    return tuple(joined)
