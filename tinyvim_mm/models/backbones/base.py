"""What all backbones share: their stages, training with frozen parts, the deployed form."""

import inspect
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...ops.backends import BACKENDS
from ..layers import ConvBN, RepDWConv, fuse_children
from ..layers.norm import run_part
from .architecture import Arch
from .arguments import check_integer, linear_drop_paths
from .joined_outputs import join_outputs
from .released import ReleasedWeights
from .stage import Stage

__all__ = ['Stage', 'StagedBackbone']


class StagedBackbone(ReleasedWeights):
    """A backbone with a stem and stages.

    Subclasses set the class attributes, here and in :class:`.ReleasedWeights`. Their
    ``__init__`` takes an architecture as its first argument, calls this one with what it
    gets beside its own arguments, fills :attr:`stem` and :attr:`stages`, and ends with
    :meth:`complete`. One line in :mod:`tinyvim_mm.models.catalogue` makes such a class known
    to everything else.

    Args:
        arch: A key of ``arch_settings``, or a dict with ``embed_dims`` and ``depths``,
            one integer per stage each.
        in_channels: Channels of the image.
        out_indices: Which stages' outputs are returned, ``None`` for all; negative ones
            count from the last. Stages after the last of them are not built.
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
        init_cfg: mmengine's initialization config. ``dict(type='Pretrained',
            checkpoint=...)`` loads released weights and weights of this project
            alike, safely, and fails unless every key is accounted for.
        norm_cfg: How batch norms are built, ``dict(type='BN')`` or ``dict(type='SyncBN')``
            with its arguments; ``None`` means BN. Layer norms stay as they are, and a
            backbone without batch norms refuses it.
        d_state: States per channel of the scan; ``None`` takes the architecture's.
        ssm_backend: Implementation of the scan; ``None`` takes the environment variable
            ``TINYVIM_SSM_BACKEND`` or else the best one.

    Raises:
        TypeError: An argument is of another type; the message names it.
        ValueError: An argument is out of range; the message names it.
    """

    #: Smallest height and width of an image.
    min_size = 1
    #: Config of the classifier that is trained on top, but for the number of channels.
    classifier: Dict[str, Any] = {'type': 'tinyvim_mm.DistillationClassifier'}
    #: Name of the convolution that takes the image.
    first_conv = 'stem.0.conv'
    #: Title of the paper, and its number on arXiv.
    paper: Tuple[str, str] = ('', '')

    #: Arguments that every scan gets.
    scan: Dict[str, Any]
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
        arch: Arch,
        in_channels: int = 3,
        out_indices: Optional[Sequence[int]] = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        normalize_outputs: bool = True,
        init_cfg: Union[dict, List[dict], None] = None,
        norm_cfg: Optional[dict] = None,
        d_state: Optional[int] = None,
        ssm_backend: Optional[str] = None,
    ) -> None:
        super().__init__(init_cfg)
        self.arch, self.spec = self.read_arch(arch)
        self.embed_dims = self.spec.embed_dims
        num_stages = len(self.embed_dims)
        check_integer('in_channels', in_channels, 1)
        indices = range(num_stages) if out_indices is None else out_indices
        self.out_indices = _normalize_indices(indices, num_stages)
        flags = {'norm_eval': norm_eval, 'with_cp': with_cp, 'normalize_outputs': normalize_outputs}
        for name, flag in flags.items():
            if not isinstance(flag, bool):
                raise TypeError(f'{name} must be True or False, got {flag!r}')
        check_integer('frozen_stages', frozen_stages)
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(
                f'frozen_stages must be between -1 (nothing) and {num_stages} (all), '
                f'got {frozen_stages}'
            )
        if d_state is not None:
            check_integer('d_state', d_state, 1)
        if ssm_backend not in (None, 'auto', *BACKENDS):
            names = ', '.join(['auto', *BACKENDS])
            raise ValueError(f'ssm_backend must be None or one of {names}, got {ssm_backend!r}')
        self.in_channels = in_channels
        self.norm_cfg = norm_cfg
        self.scan = {'d_state': d_state or self.spec.d_state, 'ssm_backend': ssm_backend}
        self.num_stages = self.out_indices[-1] + 1
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.normalize_outputs = normalize_outputs
        self.drop_paths = linear_drop_paths(drop_path_rate, self.spec.depths)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Show the arguments of every backbone beside those of this class."""
        super().__init_subclass__(**kwargs)
        own = inspect.signature(cls.__init__).parameters
        if 'common' in own:
            shared = inspect.signature(StagedBackbone.__init__).parameters
            named = {**shared, **own}
            first = [named.pop(name) for name in ('self', 'common', 'arch')][-1]
            rest = [p.replace(kind=p.KEYWORD_ONLY) for p in named.values()]
            cls.__signature__ = inspect.Signature([first, *rest])

    def complete(
        self,
        out_norm: Callable[[int], nn.Module],
        initialize: Optional[Callable[[nn.Module], None]] = None,
    ) -> None:
        """Finish a backbone that has its stem and its stages.

        ``out_norm`` makes the norm of an output from its channels; ``initialize`` is applied
        to every module.
        """
        self.out_norms = nn.ModuleDict()
        for i in self.out_indices if self.normalize_outputs else ():
            self.out_norms[str(i)] = out_norm(self.embed_dims[i])
        if initialize is not None:
            self.apply(initialize)
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
        """Feature maps, one per entry of ``out_indices``.

        Args:
            x: ``(batch, in_channels, H, W)`` with ``H`` and ``W`` of at least
                :attr:`min_size`.

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
        return join_outputs(outputs)

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


def _normalize_indices(out_indices: Sequence[int], num_stages: int) -> Tuple[int, ...]:
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
