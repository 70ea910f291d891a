"""What all backbones share: their stages, training with frozen parts, the deployed form."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers import ConvBN, RepDWConv, fuse_children
from ..layers.norm import run_part
from .arguments import check_flag, check_integer, linear_drop_paths
from .released import ReleasedWeights
from .stage import Stage

__all__ = ['Stage', 'StagedBackbone']


class StagedBackbone(ReleasedWeights):
    """A backbone with a stem and stages.

    Subclasses set the class attributes, here and in :class:`.ReleasedWeights`. Their
    ``__init__`` takes an architecture as its first argument, calls this one, fills
    :attr:`stem` and :attr:`stages`, and ends with :meth:`complete`. Without
    ``out_indices`` they return the outputs of all stages. One line in
    :mod:`tinyvim_mm.models.catalogue` makes such a class known to everything else.

    Args:
        arch: A key of ``arch_settings``, or a dict with ``embed_dims`` and ``depths``.
        in_channels: Channels of the image.
        out_indices: Which stages' outputs are returned; negative ones count
            from the last. Stages after the last of them are not built.
        frozen_stages: -1 freezes nothing, 0 the stem, ``n`` the stem and the
            first ``n`` stages; with all stages that there are, the norms of the
            outputs are frozen too, and nothing is left to train.
        norm_eval: Whether batch norms keep their statistics while training.
        drop_path_rate: Stochastic depth of the last block; it rises linearly
            from 0 in the first. The published ones are in ``arch_settings``.
        with_cp: Whether blocks are checkpointed: their activations are computed
            again in the backward pass instead of being kept.
        normalize_outputs: Whether each output goes through a norm of its own, as dense
            prediction wants it. A classifier takes the raw output, and has a norm.
        init_cfg: mmengine's initialisation config. ``dict(type='Pretrained',
            checkpoint=...)`` loads released weights and weights of this project
            alike, safely, and fails unless every key is accounted for.

    Every backbone takes ``norm_cfg``, too. It says how batch norms are built and nothing
    else: layer norms stay as they are, and a backbone without batch norms refuses it.
    """

    #: Smallest height and width of an image.
    min_size = 1
    #: Config of the classifier that is trained on top, but for the number of channels.
    classifier: Dict[str, Any] = {'type': 'tinyvim_mm.DistillationClassifier'}
    #: Name of the convolution that takes the image.
    first_conv = 'stem.0.conv'
    #: Title of the paper, and its number on arXiv.
    paper: Tuple[str, str] = ('', '')

    #: Channels of each stage of the architecture.
    embed_dims: Tuple[int, ...]
    #: Rates of stochastic depth of the blocks of each stage of the architecture.
    drop_paths: List[List[float]]
    stem: nn.Module
    stages: nn.ModuleList
    #: Norms of the outputs by index of their stage; empty for raw outputs.
    out_norms: nn.ModuleDict

    def __init__(
        self,
        arch: Union[str, dict],
        in_channels: int,
        out_indices: Sequence[int],
        frozen_stages: int = -1,
        norm_eval: bool = False,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        normalize_outputs: bool = True,
        init_cfg: Union[dict, List[dict], None] = None,
    ) -> None:
        super().__init__(init_cfg)
        self.arch, self.spec = self.read_arch(arch)
        self.embed_dims = self.spec.embed_dims
        num_stages = len(self.embed_dims)
        check_integer('in_channels', in_channels, 1)
        self.out_indices = _normalise_indices(out_indices, num_stages)
        check_flag('norm_eval', norm_eval)
        check_flag('with_cp', with_cp)
        check_flag('normalize_outputs', normalize_outputs)
        check_integer('frozen_stages', frozen_stages)
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(
                f'frozen_stages must be between -1 (nothing) and {num_stages} (all), '
                f'got {frozen_stages}'
            )
        self.num_stages = self.out_indices[-1] + 1
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.normalize_outputs = normalize_outputs
        self.drop_paths = linear_drop_paths(drop_path_rate, self.spec.depths)

    def complete(
        self,
        out_norm: Callable[[int], nn.Module],
        initialise: Optional[Callable[[nn.Module], None]] = None,
    ) -> None:
        """Finish a backbone that has its stem and its stages.

        Args:
            out_norm: From channels to the norm of an output.
            initialise: Applied to every module.
        """
        self.out_norms = nn.ModuleDict()
        for i in self.out_indices if self.normalize_outputs else ():
            self.out_norms[str(i)] = out_norm(self.embed_dims[i])
        if initialise is not None:
            self.apply(initialise)
        self.with_cp = self.with_cp  # of the stages too
        self.freeze_stages()

    @property
    def with_cp(self) -> bool:
        """Whether blocks are checkpointed; can be set at any time."""
        return self._with_cp

    @with_cp.setter
    def with_cp(self, value: bool) -> None:
        self._with_cp = value
        for stage in getattr(self, 'stages', ()):
            stage.with_cp = value

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Compute the feature maps.

        Args:
            x: ``(batch, in_channels, H, W)`` with ``H`` and ``W`` of at least
                :attr:`min_size`.

        Returns:
            One map per entry of ``out_indices``.

        Raises:
            ValueError: The input has not four axes or is smaller than that; or, in
                training, a batch norm has but one value per channel.
        """
        if x.dim() != 4 or x.shape[2] < self.min_size or x.shape[3] < self.min_size:
            raise ValueError(
                f'{self.describe()} takes (batch, channels, H, W) with H and W of at least '
                f'{self.min_size}, got {tuple(x.shape)}; resize or pad the images'
            )
        image = x
        x = run_part(self, 'stem', self.stem, x, image)
        outputs = []
        for i, stage in enumerate(self.stages):
            x = run_part(self, f'stages.{i}', stage, x, image)
            if i in self.out_indices:
                norm = self.out_norms[str(i)] if self.out_norms else None
                out = x if norm is None else run_part(self, f'out_norms.{i}', norm, x, image)
                outputs.append(out)
        return tuple(outputs)

    # -- training mode ---------------------------------------------------------

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """Place of a parameter in the network, for layer-wise learning rate decay.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: What that name begins with inside this backbone.

        Returns:
            Depth and number of layers: 0 is the stem, then each block counts
            one, with the downsampling before it; the output norms and all that
            follows the backbone are the last layer.
        """
        blocks = [len(stage.blocks) for stage in self.stages]
        num_layers = sum(blocks) + 2
        part = param_name[len(prefix) :].split('.') if param_name.startswith(prefix) else ['']
        if part[0] == 'stem':
            return 0, num_layers
        if part[0] == 'stages':
            index = int(part[3]) if part[2] == 'blocks' else 0
            return sum(blocks[: int(part[1])]) + index + 1, num_layers
        return num_layers - 1, num_layers

    def freeze_stages(self) -> None:
        """Take the frozen part out of training."""
        if self.frozen_stages < 0:
            return
        modules = [self.stem, *self.stages[: self.frozen_stages]]
        if self.frozen_stages >= self.num_stages:
            modules.append(self.out_norms)
        for module in modules:
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'StagedBackbone':
        super().train(mode)
        if mode:
            self.freeze_stages()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self

    # -- deployed form ---------------------------------------------------------

    def fuse_parts(self) -> None:
        """Fold the norms inside; those of the outputs stay."""
        fuse_children(self)

    def is_deployed_form(self, keys: Iterable[str]) -> Optional[bool]:
        keys = set(keys)
        if any('.bn.' in key for key in keys):
            return False
        groups = (n for n, m in self.named_modules() if isinstance(m, (ConvBN, RepDWConv)))
        return True if any(f'{name}.bias' in keys for name in groups) else None


def _normalise_indices(out_indices: Sequence[int], num_stages: int) -> Tuple[int, ...]:
    allowed = f'{-num_stages}..{num_stages - 1}'
    if isinstance(out_indices, int):
        out_indices = (out_indices,)
    if not isinstance(out_indices, Sequence):
        raise TypeError(f'out_indices must be integers in {allowed}, got {out_indices!r}')
    result = []
    for index in out_indices:
        if not isinstance(index, int) or not -num_stages <= index < num_stages:
            raise ValueError(f'out_indices must be integers in {allowed}, got {out_indices!r}')
        result.append(index % num_stages)
    if not result or sorted(set(result)) != result:
        raise ValueError(f'out_indices must be ascending, at least one, got {out_indices!r}')
    return tuple(result)
