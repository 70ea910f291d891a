"""A stage of a backbone, and blocks whose activations are computed twice to save memory."""

import contextlib
from typing import ContextManager, Iterator, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ...ops.tracing import is_compiling


class Stage(nn.Module):
    """Blocks of one width, and before them, but in the first stage, a downsampling."""

    #: Whether blocks are checkpointed; their backbone sets it.
    with_cp = False

    def __init__(self, blocks: Sequence[nn.Module], downsample: Optional[nn.Module] = None) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map of the stage before, ``(batch, channels, H, W)``, to the map of this one."""
        if self.downsample is not None:
            x = self.downsample(x)
        for block in self.blocks:
            x = _run(block, x) if self.with_cp and torch.is_grad_enabled() else block(x)
        return x


def _run(block: nn.Module, x: Tensor) -> Tensor:
    """Apply a block and keep none of its activations for the backward pass."""
    if is_compiling():
        return checkpoint(block, x, use_reentrant=False)

    def contexts() -> Tuple[ContextManager, ContextManager]:
        return contextlib.nullcontext(), _statistics_kept(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Recompute a block without counting its batch statistics a second time."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    saved = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # With momentum 0 the running averages stay; the counter has no such
        # switch, so it is set aside.
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, saved, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
