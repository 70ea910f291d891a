"""The 2-D selective scan as a layer."""

import math
from functools import partial
from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...ops import CROSS_SCAN, SKIP_SCAN, scan_skipping, ss2d
from ...ops.checks import cast, compute_dtype
from ...ops.rows import SS2DWeights, ss2d_weights
from ...ops.scan_paths import ScanOrder


class _ScanNorm(nn.LayerNorm):
    """A layer norm in the type of its input, also where its weights are of half precision."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class SS2D(nn.Module):
    """2-D selective scan followed by layer normalization (TinyViM, Sec. 3).

    Args:
        channels: ``d``.
        d_state: ``N``.
        dt_rank: Rank ``R`` of the projection to the step size.
        paths: The ``K`` scan paths; or a table of positions, for maps of one size.
        backend: What others call ``ssm_backend``.
    """

    def __init__(
        self,
        channels: int,
        d_state: int = 8,
        dt_rank: int = 1,
        paths: ScanOrder = CROSS_SCAN,
        backend: Optional[str] = None,
    ) -> None:
        super().__init__()
        K = len(paths)
        if isinstance(paths, Tensor):
            self.register_buffer('paths', paths, persistent=False)
        else:
            self.paths = tuple(paths)
        self.backend = backend
        self.x_proj_weight = nn.Parameter(torch.empty(K, dt_rank + 2 * d_state, channels))
        self.dt_projs_weight = nn.Parameter(torch.empty(K, channels, dt_rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(K, channels))
        self.A_logs = nn.Parameter(torch.empty(K * channels, d_state))
        self.Ds = nn.Parameter(torch.empty(K * channels))
        # Mamba's convention; the configs repeat it as `paramwise_cfg`.
        self.A_logs._no_weight_decay = True
        self.Ds._no_weight_decay = True
        self.out_norm = _ScanNorm(channels, eps=1e-5)
        self.prepared: Optional[SS2DWeights] = None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, dt_min: float = 1e-3, dt_max: float = 0.1) -> None:
        """Initialize as Mamba does: step sizes log-uniform between the limits, ``A = -1..-N``."""
        for weight in self.x_proj_weight:
            nn.init.trunc_normal_(weight, std=0.02)
        dt_rank = self.dt_projs_weight.shape[-1]
        nn.init.uniform_(self.dt_projs_weight, -(dt_rank**-0.5), dt_rank**-0.5)
        log_dt = torch.empty_like(self.dt_projs_bias).uniform_(math.log(dt_min), math.log(dt_max))
        dt = log_dt.exp().clamp_min(1e-4)
        self.dt_projs_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus gives dt
        states = torch.arange(1, self.A_logs.shape[1] + 1, dtype=self.A_logs.dtype)
        self.A_logs.copy_(states.log().to(self.A_logs.device).expand_as(self.A_logs))
        nn.init.ones_(self.Ds)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, d, H, W)`` to the same shape and type."""
        # What the directions add up to can exceed float16 before the norm, so the
        # scan hands it over in float32, and the norm takes it so.
        y = self.scan(cast(x, compute_dtype(x)))
        return cast(self.out_norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), x.dtype)

    @property
    def scan_weights(self) -> Tuple[Tensor, ...]:
        """The parameters of the scan, in the order of :func:`tinyvim_mm.ops.ss2d`."""
        projections = (self.x_proj_weight, self.dt_projs_weight, self.dt_projs_bias)
        return (*projections, self.A_logs, self.Ds)

    def scan(self, x: Tensor) -> Tensor:
        """Scan a map ``(batch, d, H, W)``, without the norm; the same shape and type."""
        return ss2d(x, *self.scan_weights, self.paths, backend=self.backend, prepared=self.prepared)

    @torch.no_grad()
    def prepare(self) -> None:
        """Prepare the weights of the scan once, for inference with weights that stay.

        After a move to another device or type, and after loading of a state dict, they are
        prepared anew. After any other change of the weights call it again.
        """
        self.prepared = SS2DWeights(*(w.contiguous() for w in ss2d_weights(*self.scan_weights)))

    def _apply(self, *args: Any, **kwargs: Any) -> 'SS2D':
        super()._apply(*args, **kwargs)
        if self.prepared is not None:
            self.prepare()
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        if self.prepared is not None:
            self.prepare()

    def extra_repr(self) -> str:
        K, channels, dt_rank = self.dt_projs_weight.shape
        return (
            f'channels={channels}, d_state={self.A_logs.shape[1]}, dt_rank={dt_rank}, '
            f'paths={K}, backend={self.backend!r}'
        )


class SkipSS2D(SS2D):
    """Skip-sampled 2-D selective scan and layer normalization (EfficientVMamba, Sec. 3.2).

    Four disjoint grids with a step of 2 are scanned, each with parameters of its
    own, see :func:`tinyvim_mm.ops.scan_skipping`.
    """

    def __init__(self, channels: int, d_state: int, dt_rank: int, backend: Optional[str]) -> None:
        super().__init__(channels, d_state, dt_rank, SKIP_SCAN, backend)

    def scan(self, x: Tensor) -> Tensor:
        operator = partial(ss2d, backend=self.backend)
        return scan_skipping(operator, x, *self.scan_weights, self.paths)

    def prepare(self) -> None:
        """Do nothing: each grid takes its part of the weights."""
