"""Statistics of what every layer returns; who comes near the limits of fp16."""

from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..models.layers import SS2D
from ..visualization.activations import FP16_MAX, LayerStatistics, draw_activations
from .networks import Network
from .recording import watching
from .reports import Report, describe, warning_of


class _Counter:
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.total = self.squares = self.max_abs = 0.0
        self.values = self.finite = self.zeros = 0

    def add(self, output: Tensor) -> None:
        output = output.detach()
        finite = output[output.isfinite()].double()
        self.values += output.numel()
        self.finite += finite.numel()
        self.zeros += int((output == 0).sum())
        if finite.numel():
            self.total += float(finite.sum())
            self.squares += float(finite.square().sum())
            self.max_abs = max(self.max_abs, float(finite.abs().max()))

    def statistics(self, name: str) -> LayerStatistics:
        finite = max(self.finite, 1)
        mean = self.total / finite
        return LayerStatistics(
            name,
            self.kind,
            values=self.values,
            mean=mean,
            std=max(self.squares / finite - mean**2, 0.0) ** 0.5,
            max_abs=self.max_abs,
            non_finite=1 - self.finite / self.values,
            zeros=self.zeros / self.values,
        )


class ActivationRecorder:
    """Collects statistics of the outputs of every module while a network runs.

    A module that returns the very tensor of a module inside it, such as a block that ends
    in a norm, is counted once. The sum over the directions of a scan, which no module
    returns, is counted as ``NAME.scan``.

    Example:
        >>> recorder = ActivationRecorder(backbone)
        >>> with recorder, torch.no_grad():
        ...     backbone(images)
        >>> recorder.statistics()
    """

    def __init__(self, network: nn.Module) -> None:
        self._counters: Dict[str, _Counter] = {}
        self._last: Optional[Tensor] = None
        self._last_mark: tuple = ()
        inputs, outputs = [], []
        for name, module in network.named_modules():
            if name:
                outputs.append((module, self._watcher(name, type(module).__name__)))
            if isinstance(module, SS2D):
                inputs.append((module.out_norm, self._watcher(f'{name}.scan', 'SS2D')))
        self._watching = watching(inputs, outputs)

    def __enter__(self) -> 'ActivationRecorder':
        self._watching.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._last = None
        self._watching.__exit__(*exception)

    def statistics(self) -> List[LayerStatistics]:
        """Statistics of the layers that ran, in the order in which they first did."""
        return [counter.statistics(name) for name, counter in self._counters.items()]

    def _watcher(self, name: str, kind: str) -> Callable[[Tensor], None]:
        def watch(output: Tensor) -> None:
            if not output.is_floating_point():
                return
            # Held, so that its memory is not given to another tensor meanwhile. What works
            # in place counts the version up.
            same = (output.data_ptr(), output.numel(), output._version)
            if self._last is not None and same == self._last_mark:
                return
            self._last, self._last_mark = output, same
            self._counters.setdefault(name, _Counter(kind)).add(output)

        return watch


def activations(network: Network, names: Sequence[str], pictures: Sequence[np.ndarray]) -> Report:
    """Statistics of every layer, and which come near the limits of fp16."""
    recorder = ActivationRecorder(network.backbone)
    with recorder, torch.no_grad():
        for picture in pictures:
            network.backbone(network.normalize([picture]))
    layers = recorder.statistics()
    title = f'Outputs of the layers: {describe(network, names)}'
    figure = draw_activations(layers, title, warning_of([network]))
    print(f'{"largest of " + str(len(layers)) + " layers":<44} max abs  of fp16       std')
    for layer in sorted(layers, key=lambda layer: -layer.max_abs)[:8]:
        share = layer.max_abs / FP16_MAX
        print(f'  {layer.name:<40} {layer.max_abs:9.3g} {share:8.2%} {layer.std:9.3g}')
    broken = [layer.name for layer in layers if layer.non_finite]
    if broken:
        print(f'NOT FINITE in {len(broken)} layers, first in {broken[0]}')
    facts = {'layers': [layer.facts() for layer in layers]}
    return Report([network], {'activations': figure}, facts)
