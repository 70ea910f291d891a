"""Cost of the scan, for the counters of mmengine, fvcore and torch.

They count a multiplication with an addition as one, and so does this module.
Per position, channel and path, the scan takes 4 for each state (step size times
A, decay times state, input times B, state times C; the exponential is not
counted) and 2 more (step size times input, skip). SS2D adds its two projections.
"""

from math import prod
from typing import Any, Callable, Dict, List, Sequence

import torch

from .backends import compiled, triton_scan

#: In ``torch.ops``, of all operators that are counted.
NAMESPACES = (compiled.NAMESPACE, triton_scan.NAMESPACE)


def scan_macs(positions: int, d_state: int) -> int:
    """Multiply-adds of a selective scan.

    Args:
        positions: ``batch * dim * L``.
        d_state: States per channel.
    """
    return positions * (4 * d_state + 2)


def ss2d_macs(x: Sequence[int], x_proj: Sequence[int], dt_projs: Sequence[int], N: int) -> int:
    """Multiply-adds of SS2D.

    Args:
        x: Shape ``(batch, d, H, W)``.
        x_proj: Shape ``(K, R + 2N, d)``.
        dt_projs: Shape ``(K, d, R)``.
        N: States per channel.
    """
    pixels = x[0] * x[2] * x[3]
    return pixels * (prod(x_proj) + prod(dt_projs)) + scan_macs(pixels * prod(dt_projs[:2]), N)


def _recurrence_macs(step: Sequence[int], step_weight: Sequence[int], A: Sequence[int]) -> int:
    """Of the operators of the kernels, from shapes; the projection of ``x`` is not theirs."""
    positions = prod(step[:3])
    low_rank = positions * prod(step_weight[1:]) if step_weight else 0
    return scan_macs(positions * A[2], A[1]) + low_rank


def _count(inputs: List[Any], outputs: List[Any]) -> int:
    step, step_weight, A = (_shape(inputs[i]) for i in (1, 2, 5))
    return _recurrence_macs(step, step_weight, A)


def _shape(value: Any) -> List[int]:
    """Of a value in a traced graph; of ``None`` an empty one."""
    return value.type().sizes() if value.type().kind() == 'TensorType' else []


#: Operator to handle, as ``set_op_handle`` of fvcore's ``FlopCountAnalysis`` and
#: of mmengine's ``FlopAnalyzer`` takes them: ``counter.set_op_handle(**OP_HANDLES)``.
OP_HANDLES: Dict[str, Callable[[List[Any], List[Any]], int]] = {
    f'{namespace}::scan': _count for namespace in NAMESPACES
}


def register_with_mmengine() -> None:
    """Let ``mmengine.analysis.get_model_complexity_info`` count the scan, in this process.

    mmengine has no other way to add an operator to what that function counts.
    """
    from mmengine.analysis import complexity_analysis

    complexity_analysis._DEFAULT_SUPPORTED_FLOP_OPS.update(OP_HANDLES)


def register_with_torch() -> None:
    """Let ``torch.utils.flop_counter.FlopCounterMode`` count the scan.

    A second call changes nothing.
    """
    try:
        from torch.utils.flop_counter import flop_registry, register_flop_formula, shape_wrapper
    except ImportError:  # before torch 2.2
        return

    def scan(x, step, step_weight, B, C, A, *args, out_shape=None, **kwargs) -> int:
        # This counter takes two operations for a multiply-add.
        return 2 * _recurrence_macs(step, step_weight, A)

    for namespace in NAMESPACES:
        operator = getattr(getattr(torch.ops, namespace), 'scan', None)
        if operator is None or operator in flop_registry:  # not compiled, or known
            continue
        register_flop_formula(operator)(scan)
        # torch 2.4 files it under the overload, and looks for it under the operator.
        flop_registry.setdefault(operator, shape_wrapper(scan))
