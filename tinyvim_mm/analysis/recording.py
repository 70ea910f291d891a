"""Find the layers of interest in a backbone, and watch what goes through them."""

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

from torch import Tensor, nn

from ..core.errors import UsageError
from ..models.layers import SS2D, LaplaceMixer

Watcher = Callable[[Tensor], None]


@dataclass(frozen=True)
class ScanMixer:
    """A token mixer that scans.

    Attributes:
        name: Of the module, as in ``named_modules`` of the backbone.
        stage: Its stage, counted from 0.
        module: A :class:`~tinyvim_mm.models.layers.LaplaceMixer`, or an
            :class:`~tinyvim_mm.models.layers.SS2D` that is in none.
        scans: The scanning layers inside a Laplace mixer, by name.
    """

    name: str
    stage: int
    module: nn.Module
    scans: Dict[str, SS2D]

    @property
    def is_laplace(self) -> bool:
        """Whether it has a low and a high branch."""
        return isinstance(self.module, LaplaceMixer)


def find_mixers(backbone: nn.Module) -> List[ScanMixer]:
    """All mixers that scan, found by class, in order.

    Raises:
        UsageError: There are none.
    """
    mixers: List[ScanMixer] = []
    for index, stage in enumerate(stages_of(backbone)):
        prefix = f'stages.{index}.'
        inside: set = set()
        for name, module in stage.named_modules(prefix=prefix[:-1]):
            if isinstance(module, LaplaceMixer):
                scans = {f'{name}.{n}': m for n, m in module.named_modules() if isinstance(m, SS2D)}
                inside.update(scans.values())
                if scans:  # else it is a variant that scans nothing
                    mixers.append(ScanMixer(name, index, module, scans))
            elif isinstance(module, SS2D) and module not in inside:
                mixers.append(ScanMixer(name, index, module, {}))
    if not mixers:
        raise UsageError(
            f'{type(backbone).__name__} has no layer that scans (SS2D) in its stages; spectra are '
            'taken before and after such layers'
        )
    return mixers


def stages_of(backbone: nn.Module) -> nn.ModuleList:
    """The stages of a backbone.

    Raises:
        UsageError: It has none.
    """
    stages = getattr(backbone, 'stages', None)
    if not isinstance(stages, (nn.ModuleList, nn.Sequential)):
        raise UsageError(
            f'{type(backbone).__name__} has no list of modules called stages, in which layers and '
            'outputs are looked for'
        )
    return stages


@contextlib.contextmanager
def watching(
    inputs: Sequence[Tuple[nn.Module, Watcher]] = (),
    outputs: Sequence[Tuple[nn.Module, Watcher]] = (),
) -> Iterator[None]:
    """Call functions with the first argument, or with the result, of modules.

    Results that are no tensors are passed over.
    """

    def after(module: nn.Module, args: tuple, output: object, take: Watcher) -> None:
        if isinstance(output, Tensor):
            take(output)

    with contextlib.ExitStack() as hooks:
        for module, take in inputs:
            hook = module.register_forward_pre_hook(lambda _, args, take=take: take(args[0]))
            hooks.enter_context(hook)
        for module, take in outputs:
            hooks.enter_context(module.register_forward_hook(partial(after, take=take)))
        yield


def stage_outputs(backbone: nn.Module, images: Tensor) -> List[Tensor]:
    """Run a backbone and return what each stage passes on.

    That is what the last module of a stage to finish returns, before any norm of outputs:
    whatever the stages' insides are called, and whichever of them the backbone returns.

    Returns:
        One map ``(batch, channels, h, w)`` for each stage.

    Raises:
        UsageError: A stage did not run, or returns no map.
    """
    stages = stages_of(backbone)
    last: Dict[int, Tensor] = {}
    watched = [
        (module, partial(last.__setitem__, index))
        for index, stage in enumerate(stages)
        for module in stage.modules()
    ]
    with watching(outputs=watched):
        backbone(images)
    for index in range(len(stages)):
        if index not in last or last[index].dim() != 4:
            fault = f'returns {tuple(last[index].shape)}' if index in last else 'was not run'
            raise UsageError(
                f'stage {index + 1} of {type(backbone).__name__} {fault}, and a map (batch, '
                'channels, height, width) is needed'
            )
    return [last[index] for index in range(len(stages))]
