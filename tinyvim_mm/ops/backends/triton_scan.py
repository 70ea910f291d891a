"""The scan in Triton, for GPUs where nothing may be compiled ahead of time.

The kernels stand in ``triton_kernels.py`` and ``triton_backward.py``; here stand the
operators ``scan`` and ``scan_backward`` around them, which ``registration.py``
describes. Every path writes a result of its own and every channel tile its own part
of the gradients of ``B`` and ``C``; they are summed in a fixed order, without
atomics, so results repeat bit by bit.

Triton is imported when an operator first runs, not with this module.
"""

import contextlib
from types import ModuleType
from typing import Any, ContextManager, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..scan_paths import ScanPath, position_table
from .registration import CHECKPOINT, SCHEMAS, register

#: Of the operators in ``torch.ops``.
NAMESPACE = 'tinyvim_mm_triton'
_FLOAT = torch.float32


def recurrence(*arguments: Any) -> Tuple[Tensor, Tensor]:
    """See :func:`.registration.register`."""
    return _recurrence(*arguments)


class _Scan:
    """One call as the kernels read it.

    Of the tensors below only the last axis must be contiguous; other strides are as
    they come, 0 where all paths share a tensor.

    Attributes:
        empty: Whether there is nothing to compute.
        x: ``(batch, K, L, d)``.
        step: ``(batch, K, L, d)``, or ``(batch, K, L, rank)`` if there is a rank.
        step_weight: ``(K, rank, d)``, contiguous, or ``None``.
        rank: 0 if ``step`` holds the steps themselves.
        B: ``(batch, K, L, N)``.
        C: ``(batch, K, L, N)``, with the strides of ``B``.
        A: ``(K, N, d)``, contiguous.
        D: ``(K, d)``, contiguous, or ``None``.
        bias: ``(K, d)``, contiguous, or ``None``.
        table: Positions that the paths visit, int32 ``(K, L)``, contiguous; or ``None``.
        codes: Without a table, all paths in one integer, two bits each: there is
            nothing to build on the device, and the next position costs a few integer
            instructions instead of a load for which the loads of the data would wait.
    """

    def __init__(
        self,
        x: Tensor,
        step: Tensor,
        step_weight: Optional[Tensor],
        B: Tensor,
        C: Tensor,
        A: Tensor,
        D: Optional[Tensor],
        bias: Optional[Tensor],
        positions: Optional[Tensor],
        paths: Sequence[int],
        width: int,
        softplus: bool,
    ) -> None:
        _check_all(x, step, step_weight, B, C, A, D, bias, positions, paths, width)
        self.batch, self.maps, self.length, self.d = x.shape
        self.K, self.N = A.shape[:2]
        self.empty = x.numel() == 0 or A.numel() == 0
        self.width, self.softplus, self.dtype = width, softplus, x.dtype
        self.x = self.of_each_path(x)
        self.rank = 0 if step_weight is None else step_weight.shape[1]
        if step_weight is not None and self.rank == 0:
            step = x.new_zeros(1, dtype=torch.float32).expand(*step.shape[:3], self.d)
        self.step = _rows(step)
        self.step_weight = step_weight.contiguous() if self.rank else None
        self.B, self.C = _rows(B), _rows(C)
        if self.B.stride() != self.C.stride():
            self.B, self.C = B.contiguous(), C.contiguous()
        self.A = A.contiguous()
        self.D = None if D is None else D.contiguous()
        self.bias = None if bias is None else bias.contiguous()
        self.table, self.codes = None, 0
        if positions is not None:
            self.table = positions.contiguous()
        elif len(paths) > _kernels().MAX_CODES:
            order = [ScanPath.from_code(code) for code in paths]
            table = position_table(order, self.length // width, width, x.device)
            self.table = table.to(torch.int32)
        else:
            self.codes = sum(code << (2 * k) for k, code in enumerate(paths))

    def of_each_path(self, rows: Tensor) -> Tensor:
        """``(batch, G, L, d)`` to ``(batch, K, L, d)`` without copies."""
        return _rows(rows).expand(-1, self.K, -1, -1)

    def of_the_maps(self, planes: Tensor) -> Tensor:
        """Sum ``(batch, K, L, d)`` over paths that share a map, in the map's type."""
        if self.maps != self.K:
            planes = planes.sum(1, keepdim=True)
        return planes.to(self.dtype)

    def forward(self, keep_state: bool, keep_checkpoints: bool) -> Tuple[Tensor, ...]:
        """See the operator ``scan``."""
        y = self._new(self.length, self.d)
        state = self._new(self.N, self.d) if keep_state else None
        segments = -(-self.length // CHECKPOINT)
        checkpoints = self._new(segments, self.N, self.d) if keep_checkpoints else None
        if not self.empty:
            # Channels along the lanes of one warp, eight states to a lane.
            block_d = self._block(256, 16, 32)
            self._launch(_kernels().scan_forward, block_d, 256, [y, state, checkpoints], [])
        absent = self.A.new_empty(0)
        return (
            self.of_the_maps(y),
            absent if state is None else state,
            absent.clone() if checkpoints is None else checkpoints,
        )

    def backward(
        self, grad_y: Tensor, grad_state: Optional[Tensor], checkpoints: Optional[Tensor]
    ) -> Tuple[Tensor, ...]:
        """See the operator ``scan_backward``."""
        segments = -(-self.length // CHECKPOINT)
        _check(self.x, 'grad_y', grad_y, (self.batch, self.maps, self.length, self.d), self.dtype)
        _check(self.x, 'grad_last_state', grad_state, (self.batch, self.K, self.N, self.d))
        kept = (self.batch, self.K, segments, self.N, self.d)
        _check(self.x, 'checkpoints', checkpoints, kept)
        # Here sums over channels cross the lanes and more tiles are alive at once:
        # half the channels of the forward kernel.
        block_d = self._block(128, 8, 32)
        tiles = -(-self.d // block_d)
        gradients = [
            self._new(self.length, self.d),
            self._new(self.length, self.d, first=(self.K, self.batch)),
            self._new(self.length, self.N, first=(tiles, self.batch, self.K)),
            self._new(self.length, self.N, first=(tiles, self.batch, self.K)),
            self._new(self.N, self.d),
            self._new(self.d),
            self._new(self.d),
        ]
        if not self.empty:
            from .triton_backward import scan_backward

            if checkpoints is None:
                checkpoints = self.forward(False, True)[2]
            state = None if grad_state is None else grad_state.contiguous()
            grad_y = self.of_each_path(grad_y)
            tensors = [checkpoints.contiguous(), grad_y, state, *gradients]
            self._launch(scan_backward, block_d, 128, tensors, grad_y.stride()[:3])
        grad_x, grad_delta, *others = gradients
        # A sum of one part would be a copy.
        summed = [g.squeeze(0) if g.shape[0] == 1 else g.sum(0) for g in others]
        return (self.of_the_maps(grad_x), grad_delta, *summed)

    def _block(self, elements: int, low: int, high: int) -> int:
        """Channels of a tile: ``elements`` with all states, within bounds.

        At least two, because the interpreter of Triton 3.2 errs on tiles of one.
        """
        wanted = max(low, min(elements // _power_of_two(self.N), high))
        return min(wanted, max(2, _power_of_two(self.d)))

    def _launch(
        self,
        kernel: Any,
        block_d: int,
        elements_per_warp: int,
        tensors: List[Optional[Tensor]],
        strides: Sequence[int],
    ) -> None:
        block_n, block_r = _power_of_two(self.N), _power_of_two(self.rank)
        # The factors of the steps take at most 32 registers of a thread.
        warps = max(block_d * block_n // elements_per_warp, block_d * block_r // 1024)
        with _current_device(self.x):
            kernel[(self.batch * self.K * -(-self.d // block_d),)](
                *(self.x, self.step, self.step_weight, self.B, self.C, self.A, self.D, self.bias),
                *(self.table, *tensors),
                *(self.codes, self.length, self.width, self.batch, self.K, self.d),
                *(*self.x.stride()[:3], *self.step.stride()[:3], *self.B.stride()[:3], *strides),
                STATES=self.N,
                RANK=self.rank,
                SOFTPLUS=self.softplus,
                BLOCK_D=block_d,
                BLOCK_N=block_n,
                BLOCK_R=block_r,
                num_warps=max(1, min(warps, 8)),
                # Pipelining through shared memory would need loads that run
                # ahead of the loop; a group's loads already overlap.
                num_stages=1,
            )

    def _new(self, *shape: int, first: Optional[Tuple[int, ...]] = None) -> Tensor:
        """A float32 tensor for a kernel to fill, zeros if none will run."""
        new = self.A.new_zeros if self.empty else self.A.new_empty
        return new((*((self.batch, self.K) if first is None else first), *shape))


def _check_all(
    x: Tensor,
    step: Tensor,
    step_weight: Optional[Tensor],
    B: Tensor,
    C: Tensor,
    A: Tensor,
    D: Optional[Tensor],
    bias: Optional[Tensor],
    positions: Optional[Tensor],
    paths: Sequence[int],
    width: int,
) -> None:
    """Refuse what the kernels would read beyond its end, as ``arguments.cpp`` does."""
    if x.dim() != 4 or A.dim() != 3:
        raise _misfit(f'x and A must have 4 and 3 axes, got {x.dim()} and {A.dim()}')
    batch, maps, length, d = x.shape
    K, N = A.shape[:2]
    if K == 0 or N == 0:
        raise _misfit(f'A must hold a path and a state, got {tuple(A.shape)}')
    if maps not in (1, K):
        raise _misfit(f'x must hold 1 map or one for each of the {K} paths, got {maps}')
    if x.dtype not in (_FLOAT, torch.float16, torch.bfloat16):
        raise _misfit(f'x must be float32, float16 or bfloat16, got {x.dtype}')
    if step_weight is not None:
        rank, step_type = step.shape[-1] if step.dim() > 0 else 0, _FLOAT
    else:
        rank, step_type = d, x.dtype if step.dtype != _FLOAT else _FLOAT
    _check(x, 'x', x, x.shape, x.dtype)
    _check(x, 'A', A, (K, N, d))
    _check(x, 'step', step, (batch, K, length, rank), step_type)
    _check(x, 'step_weight', step_weight, (K, rank, d))
    _check(x, 'B', B, (batch, K, length, N))
    _check(x, 'C', C, (batch, K, length, N))
    _check(x, 'D', D, (K, d))
    _check(x, 'bias', bias, (K, d))
    _check(x, 'positions', positions, (K, length), torch.int32)
    # In the interpreter a wrong position is an access to any memory of the process.
    if positions is not None and x.device.type == 'cpu':
        in_order = torch.arange(length, dtype=torch.int32)
        if not positions.sort(1).values.eq(in_order).all():
            raise _misfit(f'each row of positions must hold 0 to {length - 1}, each once')
    if positions is None and paths:
        if len(paths) != K or not all(0 <= code < 4 for code in paths):
            raise _misfit(f'paths must hold {K} codes from 0 to 3, got {list(paths)[:9]}')
        if length % width if width > 0 else length:
            raise _misfit(f'width must divide the {length} positions, got {width}')


def _check(
    x: Tensor,
    name: str,
    tensor: Optional[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype = _FLOAT,
) -> None:
    """Hold a tensor, if there is one, to a shape, a type and the device of ``x``."""
    if tensor is None:
        return
    if tensor.layout != torch.strided:
        raise _misfit(f'{name} must be dense, got {tensor.layout}')
    if tensor.device != x.device:
        raise _misfit(f'{name} is on {tensor.device}, but x is on {x.device}')
    if tensor.dtype != dtype:
        raise _misfit(f'{name} must be {dtype}, got {tensor.dtype}')
    if tensor.shape != tuple(shape):
        raise _misfit(f'{name} must have shape {tuple(shape)}, got {tuple(tensor.shape)}')


def _misfit(message: str) -> ValueError:
    return ValueError(f'scan: {message}')


def _rows(tensor: Tensor) -> Tensor:
    """The tensor with a contiguous last axis."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] < 2 else tensor.contiguous()


def _power_of_two(value: int) -> int:
    """The smallest power of two that is at least ``value``."""
    return 1 << max(value - 1, 0).bit_length()


def _current_device(x: Tensor) -> ContextManager:
    # Triton launches on the current device, wherever its arguments are.
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def _kernels() -> ModuleType:
    from . import triton_kernels

    return triton_kernels


# ----------------------------------------------------------------------------
# The operators, opaque, so that torch.compile sees no graph break
# ----------------------------------------------------------------------------


def _scan(*arguments: Any) -> Tuple[Tensor, ...]:
    *inputs, keep_state, keep_checkpoints = arguments
    return _Scan(*inputs).forward(keep_state, keep_checkpoints)


def _scan_backward(
    grad_y: Tensor, grad_state: Optional[Tensor], checkpoints: Optional[Tensor], *inputs: Any
) -> Tuple[Tensor, ...]:
    return _Scan(*inputs).backward(grad_y, grad_state, checkpoints)


_LIBRARY = torch.library.Library(NAMESPACE, 'DEF')
for _name, _function in (('scan', _scan), ('scan_backward', _scan_backward)):
    _LIBRARY.define(_name + SCHEMAS[_name])
    _LIBRARY.impl(_name, _function, 'CompositeExplicitAutograd')
_recurrence = register(NAMESPACE)
