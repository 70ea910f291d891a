"""The scan in graphs that are exported."""

import contextlib
from typing import Iterator

from torch import nn

from ..models.layers import SS2D


@contextlib.contextmanager
def exportable_scan(
    model: nn.Module, dynamic_size: bool = False, leave_out: bool = False
) -> Iterator[None]:
    """Let all SS2D layers of a model compute with the backend for exported graphs.

    Args:
        model: Contains the layers.
        dynamic_size: Whether the graph that is made in this context has to work for other
            sizes, up to :data:`tinyvim_mm.ops.backends.exportable.MAX_POSITIONS` positions.
        leave_out: Put identities in the place of the layers. The result is no TinyViM;
            its latency is the limit of what a better scan could reach.
    """
    found = [
        (parent, name, layer, layer.backend)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, SS2D)
    ]
    for parent, name, layer, _ in found:
        layer.backend = 'exportable_any_size' if dynamic_size else 'exportable'
        if leave_out:
            setattr(parent, name, nn.Identity())
    try:
        yield
    finally:
        for parent, name, layer, backend in found:
            setattr(parent, name, layer)
            layer.backend = backend
