"""Shapes and derivatives for operators whose kernels torch cannot trace.

``torch.ops`` holds the same two operators twice: ``tinyvim_mm`` is compiled from C++
(``kernels/csrc``), ``tinyvim_mm_triton`` written in Triton. To torch a kernel is a black
box. :func:`register` tells it what it needs:

- fake kernels, which ``torch.compile`` and ``torch.export`` call in place of the real
  ones: they compute no values, only the shape, type and memory layout of each result.
  The real kernels must return exactly those layouts.
- the derivative of ``scan``, which calls ``scan_backward``, and that of
  ``scan_backward``, which is computed in plain torch.

The recurrence is that of :func:`tinyvim_mm.ops.selective_scan`, for ``K`` paths of ``L``
positions, with channels and states along the last axis. Any other axis may have any
stride, also 0:

- ``x``: ``(batch, K, L, d)``; or ``(batch, 1, L, d)``, which all paths read, and then
  their results are summed. float32, float16 or bfloat16.
- ``step``: step sizes before bias and softplus ``(batch, K, L, d)``, of ``x``'s type or
  float32. With ``step_weight`` ``(K, R, d)`` they are ``step @ step_weight``, ``step``
  being ``(batch, K, L, R)``, float32.
- ``B``, ``C``: ``(batch, K, L, N)``. ``A``: ``(K, N, d)``. ``D``, ``bias``: ``(K, d)`` or
  ``None``. All float32, as are state and arithmetic.
- The tensors hold positions in one order, and path ``k`` visits them in another: that
  of ``positions[k]``, ``(K, L)`` of int32; or that of the code ``paths[k]``
  (:meth:`ScanPath.code`) on a map with ``width`` columns; or as they stand, if
  ``positions`` is ``None`` and ``paths`` is empty.
- Results: ``y``, of ``x``'s shape and type; the last states ``(batch, K, N, d)`` if
  ``keep_state``; and, if ``keep_checkpoints``, the states before every 16th step,
  ``(batch, K, ceil(L / 16), N, d)``, for the backward pass. What is not kept has shape
  ``(0,)``.
- Gradients: of ``x``; of the step sizes before softplus ``(K, batch, L, d)``; of ``B``,
  ``C``, ``A``, ``D`` and ``bias``, float32.
"""

from typing import Any, Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..checks import cast, no_autocast
from ..tracing import is_compiling, is_traced
from . import recurrence as plain

_ARGUMENTS = (
    'Tensor x, Tensor step, Tensor? step_weight, Tensor B, Tensor C, Tensor A, Tensor? D, '
    'Tensor? bias, Tensor? positions, int[] paths, int width, bool softplus'
)
#: Of the two operators, by name; as in ``kernels/csrc/pytorch/ops.cpp``.
SCHEMAS = {
    'scan': f'({_ARGUMENTS}, bool keep_state, bool keep_checkpoints) -> (Tensor, Tensor, Tensor)',
    'scan_backward': (
        f'(Tensor grad_y, Tensor? grad_last_state, Tensor? checkpoints, {_ARGUMENTS}) '
        f'-> ({", ".join(["Tensor"] * 7)})'
    ),
}
#: Steps between two checkpoints, ``kCheckpoint`` in ``kernels/csrc/common/scan_args.h``.
CHECKPOINT = 16
# How many of the arguments are tensors that have gradients; they come first.
_TENSORS = 8


def constant_when_traced(function: Callable) -> Callable:
    """Let ``torch.compile`` call a function while it traces, and keep the result.

    This decorator is for functions that import or look for packages, which cannot
    be traced; their arguments may be no tensors. It does what
    ``torch.compiler.assume_constant_result`` does without importing
    ``torch._dynamo``, which takes a second and imports Triton.
    """
    function._dynamo_marked_constant = True
    return function


def register(namespace: str) -> Callable[..., Tuple[Tensor, Tensor]]:
    """Add fake kernels and derivatives to the operators of a namespace.

    Args:
        namespace: Of ``torch.ops``. Its operators ``scan`` and ``scan_backward`` must be
            defined already.

    Returns:
        The recurrence: takes the arguments of ``scan`` up to ``keep_state``, and returns
        ``y`` and the last states. Before torch 2.4, which brought the functions that
        register, it has gradients, but ``torch.compile`` cannot trace it.
    """
    library = getattr(torch.ops, namespace)
    scan, scan_backward = library.scan.default, library.scan_backward.default
    if hasattr(torch.library, 'register_autograd'):
        fake, autograd = torch.library.register_fake, torch.library.register_autograd
        fake(f'{namespace}::scan')(_fake_scan)
        fake(f'{namespace}::scan_backward')(_fake_scan_backward)
        autograd(f'{namespace}::scan', _backward(scan_backward), setup_context=_setup)
        autograd(f'{namespace}::scan_backward', _second_backward, setup_context=_setup_second)
    eager_backward = _differentiable(scan_backward, _setup_second, _second_backward)
    eager = _differentiable(scan, _setup, _backward(eager_backward))

    def recurrence(*arguments: Any) -> Tuple[Tensor, Tensor]:
        wanted = torch.is_grad_enabled() and _any_requires_grad(arguments)
        # Traces shall show the operator.
        y, state, _ = (scan if is_traced() else eager)(*arguments, wanted)
        return y, state

    return recurrence


def _any_requires_grad(arguments: Tuple[Any, ...]) -> bool:
    return any([t is not None and t.requires_grad for t in arguments[:_TENSORS]])


# ----------------------------------------------------------------------------
# Fake kernels
# ----------------------------------------------------------------------------


def _fake_scan(
    x: Tensor,
    step: Tensor,
    step_weight: Optional[Tensor],
    B: Tensor,
    C: Tensor,
    A: Tensor,
    *others: Any,
) -> Tuple[Tensor, Tensor, Tensor]:
    keep_state, keep_checkpoints = others[-2:]
    batch, _, length, d = x.shape
    K, N = A.shape[:2]
    segments = (length + CHECKPOINT - 1) // CHECKPOINT
    return (
        x.new_empty(x.shape),
        A.new_empty((batch, K, N, d) if keep_state else (0,)),
        A.new_empty((batch, K, segments, N, d) if keep_checkpoints else (0,)),
    )


def _fake_scan_backward(
    grad_y: Tensor,
    grad_last_state: Optional[Tensor],
    checkpoints: Optional[Tensor],
    x: Tensor,
    step: Tensor,
    step_weight: Optional[Tensor],
    B: Tensor,
    C: Tensor,
    A: Tensor,
    *others: Any,
) -> Tuple[Tensor, ...]:
    batch, _, length, d = x.shape
    K = A.shape[0]
    shapes = ((K, batch, length, d), B.shape, B.shape, A.shape, (K, d), (K, d))
    return (x.new_empty(x.shape), *(A.new_empty(shape) for shape in shapes))


# ----------------------------------------------------------------------------
# Derivatives
# ----------------------------------------------------------------------------


def _setup(ctx: Any, inputs: Tuple[Any, ...], output: Tuple[Tensor, ...]) -> None:
    *tensors, positions, paths, width, softplus, ctx.kept_state, keep_checkpoints = inputs
    ctx.save_for_backward(*tensors, positions, output[2] if keep_checkpoints else None)
    ctx.others = paths, width, softplus
    ctx.set_materialize_grads(False)


def _backward(scan_backward: Callable[..., Tuple[Tensor, ...]]) -> Callable:
    def backward(
        ctx: Any, grad_y: Optional[Tensor], grad_state: Optional[Tensor], _: Optional[Tensor]
    ) -> Tuple[Optional[Tensor], ...]:
        *arguments, checkpoints = ctx.saved_tensors
        x, step, step_weight = arguments[:3]
        _refuse_tangents(grad_y, grad_state)
        if grad_y is None:
            grad_y = torch.zeros_like(x)
        if not ctx.kept_state:  # some tracers give a gradient of the empty tensor
            grad_state = None
        dx, ddelta, dB, dC, dA, dD, dbias = scan_backward(
            grad_y, grad_state, checkpoints, *arguments, *ctx.others
        )
        if step_weight is None:
            dstep, dweight = cast(ddelta.transpose(0, 1), step.dtype), None
        else:
            with no_autocast(x):
                # (K, batch * L, ...): one product for each path.
                K, batch, length, d = ddelta.shape
                rows = ddelta.reshape(K, batch * length, d)
                low = step.transpose(0, 1).reshape(K, batch * length, step.shape[-1])
                dstep = torch.bmm(rows, step_weight.transpose(1, 2))
                dstep = dstep.view(*ddelta.shape[:3], step.shape[-1]).transpose(0, 1)
                dweight = torch.bmm(low.transpose(1, 2), rows)
        dD, dbias = (
            None if tensor is None else gradient
            for tensor, gradient in zip(arguments[6:8], (dD, dbias), strict=True)
        )
        return dx, dstep, dweight, dB, dC, dA, dD, dbias, *[None] * 6

    return backward


def _refuse_tangents(*gradients: Optional[Tensor]) -> None:
    """Reverse and forward mode at once: a kernel would drop the tangent without a word."""
    if is_compiling() or forward_ad._current_level < 0:
        return
    for gradient in gradients:
        if gradient is not None and forward_ad.unpack_dual(gradient).tangent is not None:
            raise NotImplementedError(
                "the scan's kernels have no forward-mode derivative of their backward pass; choose "
                "the backend 'parallel'"
            )


def _setup_second(ctx: Any, inputs: Tuple[Any, ...], output: Tuple[Tensor, ...]) -> None:
    grad_y, grad_state, _, *tensors, paths, width, softplus = inputs
    ctx.save_for_backward(grad_y, grad_state, *tensors)
    ctx.others = paths, width, softplus
    ctx.set_materialize_grads(False)


def _second_backward(ctx: Any, *cotangents: Optional[Tensor]) -> Tuple[Optional[Tensor], ...]:
    """Derivative of ``scan_backward``: that of the same gradients in plain torch."""
    *inputs, positions = ctx.saved_tensors
    given = [t is not None for t in inputs]
    # D and bias, which may be absent, have no gradient in plain torch then.
    returned = [True] * 5 + given[-2:]

    def gradients(*present: Tensor) -> List[Tensor]:
        grad_y, grad_state, x, step, step_weight, *rest = _spread(present, given)
        delta = step if step_weight is None else torch.matmul(step, step_weight)

        def scan(x: Tensor, delta: Tensor, *some: Tensor) -> Tuple[Tensor, Tensor]:
            others = _spread(some, given[5:])
            return plain.recurrence(x, delta, None, *others, positions, *ctx.others)

        (y, state), pullback = torch.func.vjp(scan, x, delta, *(t for t in rest if t is not None))
        state_grad = torch.zeros_like(state) if grad_state is None else grad_state
        dx, ddelta, *others = pullback((cast(grad_y, y.dtype), state_grad))
        return [dx, ddelta.transpose(0, 1), *others]

    with no_autocast(inputs[0]):
        values, pullback = torch.func.vjp(gradients, *(t for t in inputs if t is not None))
        kept = [c for c, there in zip(cotangents, returned, strict=True) if there]
        found = pullback(
            [
                torch.zeros_like(v) if c is None else cast(c, v.dtype)
                for v, c in zip(values, kept, strict=True)
            ]
        )
    grad_y, grad_state, *of_tensors = _spread(found, given)
    return grad_y, grad_state, None, *of_tensors, *[None] * 4


def _spread(values: Sequence[Tensor], given: Sequence[bool]) -> List[Optional[Tensor]]:
    """Put values in the places of those that are given, and ``None`` in the others."""
    remaining = iter(values)
    return [next(remaining) if there else None for there in given]


def _differentiable(operator: Callable, setup: Callable, backward: Callable) -> Callable:
    """The operator with derivatives, by less Python than those that are registered have.

    Torch spends 0.1 ms in what is registered; before torch 2.4 it registers none.
    """

    class Eager(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            with torch._C._AutoDispatchBelowAutograd():
                output = operator(*inputs)
            setup(ctx, inputs, output)
            return output

    Eager.backward = staticmethod(backward)

    def differentiable(*inputs: Any) -> Any:
        if torch.is_grad_enabled():
            wanted = [isinstance(t, Tensor) and t.requires_grad for t in inputs]
            if any(wanted):
                return Eager.apply(*inputs)
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*inputs)

    return differentiable
