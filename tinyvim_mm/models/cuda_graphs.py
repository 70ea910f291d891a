"""CUDA graphs for inference at fixed sizes: one launch instead of hundreds."""

from typing import Any, Callable, Dict, Tuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

#: What tells two calls apart for which separate graphs are needed.
Signature = Tuple[Tuple[Any, ...], ...]
#: From a function and its fixed inputs to what replays it, and its fixed outputs.
Capture = Callable[[Callable, Tuple[Tensor, ...]], Tuple[Callable[[], Any], Any]]


class CUDAGraphs(nn.Module):
    """A model whose inference is recorded once for each input size and then replayed.

    At batch 1 a GPU waits for the CPU to launch the many small kernels of a
    small network; a graph launches them all at once. The first call with a new
    size, dtype or memory format runs the model a few times and records it;
    later ones copy their input into the recorded place and replay. Weights may
    change in place (``load_state_dict``); what replaces parameters or moves the
    model must come before the first call, and so must
    :func:`~tinyvim_mm.models.reparameterize`.

    Args:
        model: In evaluation mode and on a CUDA device. Its work must not depend on
            the values of its input. Under autocast, wrap the model so that the
            autocast region is inside, with ``cache_enabled=False``.
        max_graphs: Of how many sizes recordings are kept, with activations of their own.
        warmup: Runs before the recording, in which libraries choose algorithms.

    Example:
        >>> graphs = CUDAGraphs(reparameterize(backbone).cuda())  # doctest: +SKIP
        >>> features = graphs(torch.rand(1, 3, 224, 224, device='cuda'))  # doctest: +SKIP
    """

    def __init__(self, model: nn.Module, max_graphs: int = 8, warmup: int = 3) -> None:
        super().__init__()
        self.model = model
        self.max_graphs = max_graphs
        self.warmup = warmup
        self._capture: Capture = self._record
        self._graphs: Dict[Signature, Tuple[Tuple[Tensor, ...], Callable[[], Any], Any]] = {}

    @torch.no_grad()
    def forward(self, *inputs: Tensor) -> Any:
        """What the model returns for tensors on its device, as copies that later calls leave alone.

        Raises:
            ValueError: An input is not on a CUDA device.
            RuntimeError: The model is in training mode, or there are more sizes
                than ``max_graphs``.
        """
        if self.model.training:
            raise RuntimeError(
                'CUDAGraphs replays inference only, and the model is in training mode: '
                'call model.eval() first'
            )
        key = tuple((x.shape, x.stride(), x.dtype, x.device) for x in inputs)
        if key not in self._graphs:
            self._graphs[key] = self._prepare(inputs)
        places, replay, outputs = self._graphs[key]
        for place, x in zip(places, inputs, strict=True):
            place.copy_(x, non_blocking=True)
        replay()
        return tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, outputs)

    def _prepare(self, inputs: Tuple[Tensor, ...]) -> Tuple[Tuple[Tensor, ...], Callable, Any]:
        if len(self._graphs) >= self.max_graphs:
            sizes = ', '.join(str(tuple(key[0][0])) for key in self._graphs)
            raise RuntimeError(
                f'CUDAGraphs holds {self.max_graphs} recordings ({sizes}) and got another size, '
                f'{tuple(inputs[0].shape)}: pad or resize the images to fewer sizes, raise '
                'max_graphs, or run the model itself'
            )
        places = tuple(x.detach().clone() for x in inputs)
        replay, outputs = self._capture(self.model, places)
        return places, replay, outputs

    def _record(self, model: Callable, places: Tuple[Tensor, ...]) -> Tuple[Callable[[], Any], Any]:
        for x in places:
            if x.device.type != 'cuda':
                raise ValueError(
                    f'CUDAGraphs needs its inputs on a CUDA device, got one on {x.device}; on '
                    'other devices run the model itself'
                )
        # On a side stream, as PyTorch asks: the default stream cannot be recorded.
        with torch.cuda.device(places[0].device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(self.warmup):
                    model(*places)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outputs = model(*places)
        return graph.replay, outputs
