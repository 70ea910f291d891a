"""The scan in Triton, for GPUs where nothing may be compiled ahead of time.

The kernels stand in ``triton_kernels.py``. Around them, as in
``kernels/csrc/pytorch/cpu``: both projections are matrix products on the map as
it lies, positions by channels; the kernel reads them in the order of each path.
Every path writes a result of its own and every channel tile its own part of the
gradients of ``B`` and ``C``; they are summed in a fixed order, without atomics,
so results repeat bit by bit.

Triton is imported when an operator first runs, not with this module.
"""

import contextlib
import functools
import importlib.util
import os
import shutil
import sysconfig
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ContextManager, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .obstacle import Obstacle, float64_obstacle, not_on_cuda
from .registration import constant_when_traced

#: Of the operators in ``torch.ops``.
NAMESPACE = 'tinyvim_mm_triton'
_INTERPRETER = 'TRITON_INTERPRET'
# The oldest release for which the kernels are known to compile, and the oldest
# whose interpreter computes them correctly.
_OLDEST = (3, 0)
_OLDEST_INTERPRETER = (3, 2)
_OLDEST_CAPABILITY = 7


@constant_when_traced
def obstacle(device: torch.device, dtype: torch.dtype) -> Optional[Obstacle]:
    """What keeps Triton from computing with such tensors."""
    if device.type not in ('cuda', 'cpu'):
        return not_on_cuda(device)
    wrong_type = float64_obstacle(dtype)
    if wrong_type is not None:
        return wrong_type
    if not _is_installed():
        return Obstacle('triton is not installed', 'pip install triton', ': ')
    if device.type == 'cpu' and os.environ.get(_INTERPRETER) != '1':
        return Obstacle(
            'Triton compiles for GPUs only; on a CPU its slow interpreter can run instead, for '
            'tests',
            f'set {_INTERPRETER}=1 before anything imports triton',
            ': ',
        )
    problem, interpreted = _load_kernels()
    if problem is not None:
        return problem
    if device.type == 'cpu' and not interpreted:
        return Obstacle(
            f'{_INTERPRETER}=1 was set after something had imported triton',
            'set it before Python starts',
        )
    if device.type == 'cuda' and interpreted:
        return Obstacle(
            f'Triton was imported with {_INTERPRETER}=1 and would run in its interpreter',
            'unset that variable and start Python again',
        )
    return _launch_obstacle(device) if device.type == 'cuda' else None


def recurrence(*arguments: Any) -> Tuple[Tensor, Tensor]:
    """See :func:`.registration.register`."""
    raise NotImplementedError('the Triton kernels follow')


# ----------------------------------------------------------------------------
# Triton, imported late
# ----------------------------------------------------------------------------


@functools.cache
def _is_installed() -> bool:
    return importlib.util.find_spec('triton') is not None


@functools.cache
def _load_kernels() -> Tuple[Optional[Obstacle], bool]:
    """Import Triton once: what prevents its use, and whether its interpreter is on."""
    try:
        import triton

        release = tuple(int(part) for part in triton.__version__.split('.')[:2])
        if release < _OLDEST:
            return _too_old(triton.__version__, _OLDEST), False
        kernels = _kernels()
    except Exception as error:  # noqa: BLE001 - a broken installation is reported as such
        problem = Obstacle(
            f'triton is installed but does not import ({type(error).__name__}: {error})',
            'pip install --force-reinstall triton',
            ': ',
        )
        return problem, False
    # Triton reads the variable at its own import and again for our kernels.
    compiled = [
        isinstance(function, triton.runtime.JITFunction)
        for function in (triton.language.sum, kernels.scan_forward)
    ]
    if any(compiled) and not all(compiled):
        reason = f'{_INTERPRETER} changed after triton had been imported'
        return Obstacle(reason, 'start Python again'), False
    interpreted = not any(compiled)
    if interpreted and release < _OLDEST_INTERPRETER:
        return _too_old(triton.__version__, _OLDEST_INTERPRETER), True
    return None, interpreted


@functools.cache
def _launch_obstacle(device: torch.device) -> Optional[Obstacle]:
    """What would make the first launch on a CUDA device fail."""
    if torch.version.hip is None and torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability(device)
        if major < _OLDEST_CAPABILITY:
            return Obstacle(
                f'Triton needs compute capability {_OLDEST_CAPABILITY}.0 or newer, {device} has '
                f'{major}.{minor}',
                "choose 'cuda' or 'parallel'",
            )
    if os.name != 'posix':  # elsewhere Triton brings a compiler
        return None
    if not (os.environ.get('CC') or any(map(shutil.which, ('gcc', 'clang')))):
        return Obstacle(
            'Triton builds its launcher with a C compiler and finds none',
            'install one, for example apt-get install gcc, or name it in the environment variable '
            'CC',
            ': ',
        )
    headers = sysconfig.get_paths()['include']
    if not os.path.exists(os.path.join(headers, 'Python.h')):
        return Obstacle(
            f"Triton builds its launcher with Python's headers, and {headers}/Python.h is missing",
            'install them, for example apt-get install python3-dev',
            ': ',
        )
    return None


def _too_old(version: str, oldest: Tuple[int, int]) -> Obstacle:
    cure = f"pip install 'triton>={oldest[0]}.{oldest[1]}'"
    return Obstacle(f'triton {version} is too old here', cure, ': ')


def _kernels() -> ModuleType:
    from . import triton_kernels

    return triton_kernels


# ----------------------------------------------------------------------------
# The scan along any paths
# ----------------------------------------------------------------------------


class _Gradients(NamedTuple):
    """What the backward kernel writes, in the order of its arguments, all float32.

    Attributes:
        x: ``(batch, paths, L, channels)``.
        delta: Shape and strides of ``delta``.
        BC: ``(tiles, batch, L, paths, 2 * N)``, ``B`` and ``C`` side by side, to
            be summed over the tiles of channels.
        A: ``(batch, paths, N, channels)``, of ``A`` as it was given.
        D: ``(batch, paths, channels)``.
        bias: ``(batch, paths, channels)``.
    """

    x: Tensor
    delta: Tensor
    BC: Tensor
    A: Tensor
    D: Tensor
    bias: Tensor


@dataclass
class _Scan:
    """What the kernels work on, of any floating types.

    Axes may have any strides, 0 too where paths share a tensor, except that the
    last one is contiguous.

    Attributes:
        x: ``(batch, paths, L, channels)``.
        delta: ``(batch, paths, L, channels)``, before bias and softplus.
        B: ``(batch, paths, L, N)``.
        C: ``(batch, paths, L, N)``, with the strides of ``B``.
        A: ``(paths, N, channels)``, contiguous.
        D: ``(paths, channels)``, contiguous, or ``None``.
        bias: ``(paths, channels)``, contiguous, or ``None``.
        softplus: Whether ``delta`` goes through softplus.
        log_a: Whether ``A`` holds ``log(-A)``.
        codes: The paths, see :func:`_path_codes`; 0 reads every sequence forwards.
        width: Columns of the map.
    """

    x: Tensor
    delta: Tensor
    B: Tensor
    C: Tensor
    A: Tensor
    D: Optional[Tensor]
    bias: Optional[Tensor]
    softplus: bool
    log_a: bool = False
    codes: int = 0
    width: int = 1

    def __post_init__(self) -> None:
        self.batch, self.paths, self.length, self.channels = self.x.shape
        self.N = self.A.shape[1]

    def forward(self, last_state: bool) -> Tuple[Tensor, Optional[Tensor]]:
        """Scan.

        Returns:
            ``y`` of shape ``(batch, paths, L, channels)``, and the last states
            ``(batch, paths, N, channels)`` if they are wanted.
        """
        y = self._new(self.length, self.channels)
        state = self._new(self.N, self.channels) if last_state else None
        # Channels along the lanes of one warp, eight states to a lane.
        self._launch(_kernels().scan_forward, self._block(256, 16, 32), 256, [y, state], [])
        return y, state

    def backward(self, grad_y: Tensor, grad_state: Optional[Tensor]) -> _Gradients:
        """Gradients for each path on its own.

        Args:
            grad_y: ``(batch, paths, L, channels)``, strides as for ``x``.
            grad_state: ``(batch, paths, N, channels)``, contiguous, or ``None``.
        """
        kernels = _kernels()
        # Here sums over channels cross the lanes and five states are alive at
        # once: half the channels of the forward kernel.
        block_d = self._block(128, 8, 32)
        segments = -(-self.length // kernels.SEGMENT)
        slots = max(segments - 1, 0) + -(-min(self.length, kernels.SEGMENT) // kernels.GROUP)
        BC_shape = (-(-self.channels // block_d), self.batch, self.length, self.paths, 2 * self.N)
        gradients = _Gradients(
            x=self._new(self.length, self.channels),
            delta=torch.empty_like(self.delta, dtype=torch.float32),
            BC=self.x.new_empty(BC_shape, dtype=torch.float32),
            A=self._new(self.N, self.channels),
            D=self._new(self.channels),
            bias=self._new(self.channels),
        )
        states = self._new(slots, self.N, self.channels)
        tile, batch, position, path, _ = gradients.BC.stride()
        self._launch(
            kernels.scan_backward,
            block_d,
            128,
            [grad_y, grad_state, states, *gradients],
            [*grad_y.stride()[:3], tile, batch, path, position, slots],
        )
        return gradients

    def _block(self, elements: int, low: int, high: int) -> int:
        """Channels of a tile: ``elements`` with all states, within bounds.

        At least two, because the interpreter of Triton 3.2 errs on tiles of one.
        """
        wanted = max(low, min(elements // _power_of_two(self.N), high))
        return min(wanted, max(2, _power_of_two(self.channels)))

    def _launch(
        self,
        kernel: Any,
        block_d: int,
        elements_per_warp: int,
        tensors: List[Optional[Tensor]],
        integers: List[int],
    ) -> None:
        programs = self.batch * self.paths * -(-self.channels // block_d)
        if programs == 0:
            return
        block_n = _power_of_two(self.N)
        with _current_device(self.x):
            kernel[(programs,)](
                *(self.x, self.delta, self.B, self.C, self.A, self.D, self.bias),
                *tensors,
                *(self.codes, self.length, self.width, self.paths, self.channels),
                *(*self.x.stride()[:3], *self.delta.stride()[:3], *self.B.stride()[:3]),
                *integers,
                STATES=self.N,
                SOFTPLUS=self.softplus,
                LOG_A=self.log_a,
                BLOCK_D=block_d,
                BLOCK_N=block_n,
                num_warps=max(1, min(block_d * block_n // elements_per_warp, 8)),
                # Pipelining through shared memory would need loads that run
                # ahead of the loop; a group's loads already overlap.
                num_stages=1,
            )

    def _new(self, *shape: int) -> Tensor:
        return self.x.new_empty((self.batch, self.paths, *shape), dtype=torch.float32)


def _path_codes(paths: Sequence[int]) -> int:
    """All paths in one integer, two bits each.

    An integer rather than a table of positions: there is nothing to build on
    the device, to copy to it or to keep per image size, and the next position
    costs a few integer instructions instead of a load for which the loads of
    the data would wait.
    """
    limit = _kernels().MAX_PATHS
    if len(paths) > limit:
        raise ValueError(
            f'ss2d: the triton backend takes at most {limit} paths, got {len(paths)}; choose '
            "another backend, for example 'parallel'"
        )
    return sum(code << (2 * k) for k, code in enumerate(paths))


def _power_of_two(value: int) -> int:
    """The smallest power of two that is at least ``value``."""
    return 1 << max(value - 1, 0).bit_length()


def _current_device(x: Tensor) -> ContextManager:
    # Triton launches on the current device, wherever its arguments are.
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


# ----------------------------------------------------------------------------
# SS2D
# ----------------------------------------------------------------------------


class _PreparedSS2D:
    """What forward and backward of SS2D both need."""

    def __init__(
        self,
        x: Tensor,
        x_proj_weight: Tensor,
        dt_projs_weight: Tensor,
        dt_projs_bias: Tensor,
        A_logs: Tensor,
        Ds: Tensor,
        paths: Sequence[int],
    ) -> None:
        self.batch, self.d, self.height, self.width = x.shape
        self.K, _, self.R = dt_projs_weight.shape
        self.dtype = x.dtype
        N = A_logs.shape[1]
        map_rows = self.rows(x)
        # Projections in float32, whatever the types.
        self.x = map_rows.float()
        self.x_weight = x_proj_weight.float().reshape(-1, self.d)
        self.dt_weight = dt_projs_weight.float()
        projected = (self.x @ self.x_weight.t()).unflatten(1, (self.K, self.R + 2 * N))
        self.dt_low = projected[..., : self.R].transpose(0, 1)
        delta = torch.bmm(self.dt_low, self.dt_weight.transpose(1, 2))
        B, C = self.by_sample(projected.transpose(0, 1)[..., self.R :]).split(N, -1)
        self.scan = _Scan(
            x=self.shared(map_rows),
            delta=self.by_sample(delta),
            B=B,
            C=C,
            A=A_logs.unflatten(0, (self.K, self.d)).transpose(1, 2).contiguous(),
            D=Ds.contiguous().view(self.K, self.d),
            bias=dt_projs_bias.contiguous(),
            softplus=True,
            log_a=True,
            codes=_path_codes(paths),
            width=self.width,
        )

    def rows(self, x: Tensor) -> Tensor:
        """``(batch, d, H, W)`` to contiguous ``(batch * H * W, d)``."""
        return x.permute(0, 2, 3, 1).contiguous().view(-1, self.d)

    def to_map(self, rows: Tensor) -> Tensor:
        """``(batch * H * W, d)`` to a channels-last map of the input's type."""
        rows = rows.to(self.dtype).contiguous()
        return rows.view(self.batch, self.height, self.width, self.d).permute(0, 3, 1, 2)

    def by_sample(self, rows: Tensor) -> Tensor:
        """``(K, batch * H * W, ...)`` to ``(batch, K, H * W, ...)``."""
        return rows.unflatten(1, (self.batch, self.height * self.width)).transpose(0, 1)

    def shared(self, rows: Tensor) -> Tensor:
        """``(batch * H * W, d)`` to ``(batch, K, H * W, d)`` without copies."""
        return self.by_sample(rows.expand(self.K, -1, -1))


def _ss2d(x: Tensor, *arguments: Any) -> Tensor:
    prepared = _PreparedSS2D(x, *arguments)
    y, _ = prepared.scan.forward(last_state=False)
    return prepared.to_map(y.sum(1).flatten(0, 1))


def _ss2d_backward(grad_y: Tensor, *inputs: Any) -> Tuple[Tensor, ...]:
    p = _PreparedSS2D(*inputs)
    gradients = p.scan.backward(p.shared(p.rows(grad_y)), None)
    # Through the projections.
    grad_delta = gradients.delta.transpose(0, 1).flatten(1, 2)
    grad_dt_low = torch.bmm(grad_delta, p.dt_weight).transpose(0, 1)
    grad_BC = gradients.BC.sum(0).flatten(0, 1)
    grad_projected = torch.cat([grad_dt_low, grad_BC], -1).flatten(1)
    grad_x = torch.addmm(gradients.x.sum(1).flatten(0, 1), grad_projected, p.x_weight)
    weights = (
        grad_projected.t() @ p.x,
        torch.bmm(grad_delta.transpose(1, 2), p.dt_low),
        gradients.bias.sum(0),
        gradients.A.sum(0).transpose(1, 2),
        gradients.D.sum(0),
    )
    return (p.to_map(grad_x), *(_like(g, w) for g, w in zip(weights, inputs[1:-1], strict=True)))


def _like(gradient: Tensor, tensor: Tensor) -> Tensor:
    return gradient.reshape(tensor.shape).to(tensor.dtype).contiguous()


# ----------------------------------------------------------------------------
# The 1-D scan: groups take the place of paths
# ----------------------------------------------------------------------------


def _prepared_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Optional[Tensor],
    delta_bias: Optional[Tensor],
    delta_softplus: bool,
) -> _Scan:
    groups = B.shape[1]
    per_group = (groups, u.shape[1] // groups)
    return _Scan(
        x=_by_position(u, per_group),
        delta=_by_position(delta, per_group),
        B=B.transpose(2, 3).contiguous(),
        C=C.transpose(2, 3).contiguous(),
        A=A.unflatten(0, per_group).transpose(1, 2).contiguous(),
        D=None if D is None else D.contiguous().view(per_group),
        bias=None if delta_bias is None else delta_bias.contiguous().view(per_group),
        softplus=delta_softplus,
    )


def _by_position(sequence: Tensor, per_group: Tuple[int, int]) -> Tensor:
    """``(batch, dim, L)`` to contiguous ``(batch, groups, L, channels of a group)``."""
    return sequence.unflatten(1, per_group).transpose(2, 3).contiguous()


def _by_channel(positions: Tensor, like: Tensor) -> Tensor:
    return _like(positions.transpose(2, 3), like)


def _selective_scan(*inputs: Any) -> Tuple[Tensor, Tensor]:
    y, state = _prepared_scan(*inputs).forward(last_state=True)
    return _by_channel(y, inputs[0]), state.transpose(2, 3).flatten(1, 2)


def _selective_scan_backward(
    grad_y: Tensor, grad_state: Optional[Tensor], *inputs: Any
) -> Tuple[Tensor, ...]:
    u, delta, A, B, C, D, delta_bias, _ = inputs
    scan = _prepared_scan(*inputs)
    per_group = (scan.paths, scan.channels)
    if grad_state is not None:
        grad_state = grad_state.unflatten(1, per_group).transpose(2, 3).contiguous()
    gradients = scan.backward(_by_position(grad_y, per_group), grad_state)
    grad_B, grad_C = gradients.BC.sum(0).permute(0, 2, 3, 1).split(scan.N, 2)
    absent = gradients.D.new_empty(0)
    return (
        _by_channel(gradients.x, u),
        _by_channel(gradients.delta, delta),
        _like(gradients.A.sum(0).transpose(1, 2), A),
        _like(grad_B, B),
        _like(grad_C, C),
        absent if D is None else _like(gradients.D.sum(0), D),
        absent.clone() if delta_bias is None else _like(gradients.bias.sum(0), delta_bias),
    )


# ----------------------------------------------------------------------------
# Registration: opaque operators, so that torch.compile sees no graph break
# ----------------------------------------------------------------------------
