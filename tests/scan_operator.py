"""The operators under the public functions: what they compute, and nonsense given to them.

``torch.ops.tinyvim_mm.{scan,scan_backward}`` and their counterparts in Triton and in the
emulation have one meaning, which :func:`truth` writes down in float64. They may be
called by anybody, so each has to refuse what does not fit.
"""

import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tinyvim_mm.ops import CROSS_SCAN, ScanPath, position_table

#: Positions from one kept state to the next.
CHECKPOINT = 16
NAMES = ('x', 'step', 'step_weight', 'B', 'C', 'A', 'D', 'bias', 'positions', 'paths', 'width',
         'softplus')  # fmt: skip
#: Gradients that the backward returns, in turn.
GRADIENTS = ('x', 'delta', 'B', 'C', 'A', 'D', 'bias')

Arguments = Dict[str, Any]


def arguments(
    height: int = 3,
    width: int = 4,
    batch: int = 2,
    K: int = 4,
    d: int = 5,
    N: int = 3,
    R: Optional[int] = 2,
    shared: bool = True,
    order: str = 'paths',
    options: bool = True,
    softplus: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Arguments:
    """Arguments of the forward, up to ``softplus``.

    Args:
        height: Rows of the map.
        width: Its columns.
        batch: Maps.
        K: Paths.
        d: Channels.
        N: States.
        R: Rank of the step sizes; ``None`` gives them in full.
        shared: Whether all paths read one map.
        order: ``'paths'``, ``'positions'`` or ``'forwards'``.
        options: Whether ``D`` and ``bias`` are there.
        softplus: Whether steps go through it.
        dtype: Of ``x``.
    """
    length = height * width
    step = torch.randn(batch, K, length, d if R is None else R)
    table, codes = None, []
    if order == 'positions':
        rows = [torch.randperm(length) for _ in range(K)]
        table = torch.stack(rows).int() if K else torch.empty(0, length, dtype=torch.int32)
    elif order == 'paths':
        codes = [k % 4 for k in range(K)]
    return {
        'x': torch.randn(batch, 1 if shared else K, length, d).to(dtype),
        'step': 0.5 * (step if softplus else step.abs()),
        'step_weight': None if R is None else _of_sign(torch.randn(K, R, d), softplus),
        'B': torch.randn(batch, K, length, N),
        'C': torch.randn(batch, K, length, N),
        'A': -torch.rand(K, N, d) * 2 - 0.1,
        'D': torch.randn(K, d) if options else None,
        'bias': _of_sign(torch.randn(K, d), softplus) if options else None,
        'positions': table,
        'paths': codes,
        'width': width,
        'softplus': softplus,
    }


def _of_sign(tensor: Tensor, any_sign: bool) -> Tensor:
    """Steps that no softplus makes positive must be so, or states grow without limit."""
    return tensor if any_sign else tensor.abs()


def orders(a: Arguments) -> Tensor:
    """``(K, L)``: the positions that each path visits."""
    K, length = a['step'].shape[1:3]
    if a['positions'] is not None:
        return a['positions'].long()
    if not a['paths'] or not length:
        return torch.arange(length).expand(K, length)
    paths = [ScanPath(bool(code & 1), bool(code & 2)) for code in a['paths']]
    return position_table(paths, length // a['width'], a['width'])


def raw_steps(a: Arguments) -> Tensor:
    """``(batch, K, L, d)``: steps before the bias."""
    if a['step_weight'] is None:
        return a['step'].double()
    return torch.einsum('bklr,krd->bkld', a['step'].double(), a['step_weight'].double())


def truth(a: Arguments, raw: Optional[Tensor] = None) -> Tuple[Tensor, Tensor, Tensor]:
    """``y``, the last state and the kept states, in float64; differentiable."""
    x, B, C, A = (a[name].double() for name in ('x', 'B', 'C', 'A'))
    raw = raw_steps(a) if raw is None else raw
    batch, K, length, d = raw.shape
    if a['bias'] is not None:
        raw = raw + a['bias'].double()[:, None]
    dt = F.softplus(raw) if a['softplus'] else raw
    maps = x.expand(-1, K, -1, -1)
    planes, states, kept = [], [], []
    for k, order in enumerate(orders(a)):
        h = x.new_zeros(batch, A.shape[1], d)
        outputs: List[Optional[Tensor]] = [None] * length
        of_path = []
        for time, position in enumerate(order.tolist()):
            if time % CHECKPOINT == 0:
                of_path.append(h)
            u, step = maps[:, k, position, None], dt[:, k, position, None]
            h = (step * A[k]).exp() * h + step * u * B[:, k, position, :, None]
            y = (h * C[:, k, position, :, None]).sum(1)
            outputs[position] = y if a['D'] is None else y + a['D'][k].double() * u[:, 0]
        planes.append(torch.stack(outputs, 1) if length else x.new_zeros(batch, 0, d))
        states.append(h)
        empty = x.new_zeros(batch, 0, *h.shape[1:])
        kept.append(torch.stack(of_path, 1) if of_path else empty)
    if not K:
        return x.new_zeros(x.shape), x.new_zeros(batch, 0, *A.shape[1:]), x.new_zeros(0)
    y = torch.stack(planes, 1)
    if x.shape[1] != K:
        y = y.sum(1, keepdim=True)
    return y, torch.stack(states, 1), torch.stack(kept, 1)


def true_gradients(a: Arguments, grad_y: Tensor, grad_state: Optional[Tensor]) -> List[Tensor]:
    """What the backward returns, in float64 and in its layouts."""
    leaves = {
        name: a[name].detach().double().requires_grad_()
        for name in ('x', 'B', 'C', 'A', 'D', 'bias')
        if a[name] is not None
    }
    raw = raw_steps(a).detach().requires_grad_()
    y, state, _ = truth({**a, **leaves}, raw)
    # Where there is no position nothing depends on anything.
    loss = (y * grad_y.double()).sum() + 0 * (raw.sum() + sum(t.sum() for t in leaves.values()))
    if grad_state is not None:
        loss = loss + (state * grad_state.double()).sum()
    wanted = {**leaves, 'delta': raw}
    gradients = torch.autograd.grad(
        loss, list(wanted.values()), allow_unused=True, materialize_grads=True
    )
    found = dict(zip(wanted, gradients, strict=True))
    found['delta'] = found['delta'].transpose(0, 1)
    # The backward gives those of absent arguments too.
    K = len(a['A'])
    in_path = grad_y.double().expand(-1, K, -1, -1)
    if 'bias' not in found:
        found['bias'] = found['delta'].sum((1, 2))
    if 'D' not in found:
        found['D'] = (in_path * a['x'].double()).sum((0, 2))
    return [found[name] for name in GRADIENTS]


# ----------------------------------------------------------------------------
# Nonsense
# ----------------------------------------------------------------------------


def _set(**values: Any) -> Callable[[Arguments], None]:
    return lambda a: a.update(values)


def _change(name: str, function: Callable[[Any], Any]) -> Callable[[Arguments], None]:
    def change(a: Arguments) -> None:
        a[name] = function(a[name])

    return change


def _positions(function: Callable[[Tensor], Any]) -> Callable[[Arguments], None]:
    def change(a: Arguments) -> None:
        table = position_table(CROSS_SCAN, 3, 4).int()
        a.update(positions=function(table), paths=[])

    return change


def _put(value: int) -> Callable[[Arguments], None]:
    def put(table: Tensor) -> Tensor:
        table[1, 3] = value
        return table

    return _positions(put)


def _full_steps(function: Callable[[Tensor], Any]) -> Callable[[Arguments], None]:
    return lambda a: a.update(step=function(torch.randn(2, 4, 12, 5)), step_weight=None)


def _nested(t: Tensor) -> Tensor:
    return torch.nested.nested_tensor(list(t))


#: Changes of the arguments of a scan of two maps of 3 rows, 4 columns and 5 channels, along
#: 4 paths with 3 states and steps of rank 2.
NONSENSE: Dict[str, Callable[[Arguments], None]] = {}
for _name in ('x', 'step', 'step_weight', 'B', 'C', 'A', 'D', 'bias'):
    for _what, _function in {
        'of rank 0': lambda t: t.sum(),
        'of one rank less': lambda t: t[0],
        'of one rank more': lambda t: t.unsqueeze(0),
        'int64': lambda t: t.long(),
        'bool': lambda t: t > 0,
        'float64': lambda t: t.double(),
        'complex': lambda t: t.to(torch.complex64),
        'float8': lambda t: t.to(torch.float8_e4m3fn),
        'on meta': lambda t: t.to('meta'),
        'sparse': lambda t: t.to_sparse(),
        'sparse, of rows': lambda t: t.reshape(-1, t.shape[-1]).to_sparse_csr(),
        'mkldnn': lambda t: t.to_mkldnn(),
        'quantized': lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        'nested': _nested,
    }.items():
        NONSENSE[f'{_name} {_what}'] = _change(_name, _function)
    if _name not in ('x', 'step'):
        NONSENSE[f'{_name} in half precision'] = _change(_name, lambda t: t.half())
NONSENSE['step of half precision with a weight'] = _change('step', lambda t: t.half())
for _name, _axes in {
    'x': ('batch', 'maps', 'positions', 'channels'),
    'step': ('batch', 'paths', 'positions', 'rank'),
    'step_weight': ('paths', 'rank', 'channels'),
    'B': ('batch', 'paths', 'positions', 'states'),
    'C': ('batch', 'paths', 'positions', 'states'),
    'A': ('paths', 'states', 'channels'),
    'D': ('paths', 'channels'),
    'bias': ('paths', 'channels'),
}.items():
    for _axis, _what in enumerate(_axes):
        for _more in (False, True):
            NONSENSE[f'{_name} with {"more" if _more else "fewer"} {_what}'] = _change(
                _name,
                lambda t, axis=_axis, more=_more: (
                    torch.cat([t, t], axis).contiguous() if more else t.narrow(axis, 0, 0)
                ),
            )
NONSENSE |= {
    'x of other channels than all else': _change('x', lambda t: t[..., :3]),
    'step_weight left out': _set(step_weight=None),
    'full steps of other channels': _full_steps(lambda t: t[..., :3]),
    'full steps in float64': _full_steps(lambda t: t.double()),
    'full steps of another half than x': _full_steps(lambda t: t.half()),
    'full steps of one rank less': _full_steps(lambda t: t[0]),
    'positions of one rank less': _positions(lambda t: t[0]),
    'positions of one rank more': _positions(lambda t: t[None]),
    'positions of fewer paths': _positions(lambda t: t[:3].contiguous()),
    'positions of more paths': _positions(lambda t: torch.cat([t, t])),
    'positions of a shorter path': _positions(lambda t: t[:, :11].contiguous()),
    'positions of a longer path': _positions(lambda t: torch.cat([t, t], 1)),
    'positions of floats': _positions(lambda t: t.float()),
    'positions of bools': _positions(lambda t: t.bool()),
    'positions in int8': _positions(lambda t: t.to(torch.int8)),
    'positions on meta': _positions(lambda t: t.to('meta')),
    'sparse positions': _positions(lambda t: t.to_sparse()),
    'a position of -1': _put(-1),
    'a position behind the last': _put(12),
    'a position twice': _put(0),
    'a position far away': _put(2**31 - 1),
    'a position far before': _put(-(2**31)),
    'fewer paths': _set(paths=[0, 1, 2]),
    'more paths': _set(paths=[0, 1, 2, 3, 0]),
    'very many paths': _set(paths=[0] * 1000),
    'a path of code -1': _set(paths=[0, 1, 2, -1]),
    'a path of code 4': _set(paths=[0, 1, 2, 4]),
    'a path of a large code': _set(paths=[0, 1, 2, 2**40]),
    'no columns': _set(width=0),
    'a negative width': _set(width=-4),
    'a width of -1': _set(width=-1),
    'columns that do not fill rows': _set(width=5),
    'more columns than positions': _set(width=13),
    'a huge width': _set(width=2**62),
    'the most negative width': _set(width=-(2**63)),
    'all tensors of one element': lambda a: a.update(
        {k: v.flatten()[:1] for k, v in a.items() if isinstance(v, Tensor)}
    ),
    'all tensors of rank 0': lambda a: a.update(
        {k: v.sum() for k, v in a.items() if isinstance(v, Tensor)}
    ),
}

#: Changes of what only the backward takes: ``grad_y``, ``grad_last_state``, ``checkpoints``.
BACKWARD_NONSENSE: Dict[str, Callable[[Arguments], None]] = {}
for _name in ('grad_y', 'grad_last_state', 'checkpoints'):
    for _what, _function in {
        'of rank 0': lambda t: t.sum(),
        'of rank 1': lambda t: t.flatten(),
        'of one rank less': lambda t: t[0],
        'of one rank more': lambda t: t.unsqueeze(0),
        'int64': lambda t: t.long(),
        'float64': lambda t: t.double(),
        'half': lambda t: t.half(),
        'complex': lambda t: t.to(torch.complex64),
        'on meta': lambda t: t.to('meta'),
        'sparse': lambda t: t.to_sparse(),
        'nested': _nested,
        **{
            f'{"longer" if more else "empty"} along axis {axis}': (
                lambda t, axis=axis, more=more: (
                    torch.cat([t, t], axis) if more else t.narrow(axis, 0, 0)
                )
            )
            for axis in range(4)
            for more in (False, True)
        },
        'shorter along its last axis': lambda t: t[..., 1:].contiguous(),
    }.items():
        BACKWARD_NONSENSE[f'{_name} {_what}'] = _change(_name, _function)


def forward(namespace: str, a: Arguments, state: bool = True, checkpoints: bool = True) -> Any:
    """The operator ``scan``."""
    scan = getattr(torch.ops, namespace).scan
    return scan(*(a[name] for name in NAMES), state, checkpoints)


def backward(namespace: str, a: Arguments) -> Any:
    """The operator ``scan_backward``; ``grad_y`` and the like are among the arguments."""
    names = ('grad_y', 'grad_last_state', 'checkpoints', *NAMES)
    return getattr(torch.ops, namespace).scan_backward(*(a[name] for name in names))


def for_backward(a: Arguments) -> Arguments:
    """The arguments of the backward; kept states are zeros, whose shape is right."""
    batch, K, length = a['step'].shape[:3]
    state = (a['A'].shape[1], a['A'].shape[2])
    return {
        **a,
        'grad_y': torch.randn(a['x'].shape).to(a['x'].dtype),
        'grad_last_state': torch.randn(batch, K, *state),
        'checkpoints': torch.zeros(batch, K, -(-length // CHECKPOINT), *state),
    }


def load(backend: str) -> str:
    """Have the operators of a backend; their namespace."""
    if backend == 'emulation':
        from scan_cases import emulated

        emulated()
        return 'tinyvim_mm_emulated'
    if backend == 'triton':
        return 'tinyvim_mm_triton'
    return 'tinyvim_mm'


def everything() -> List[str]:
    """Names of all nonsense: operator and what is wrong."""
    return [
        *(f'scan: {name}' for name in NONSENSE),
        *(f'scan_backward: {name}' for name in (*NONSENSE, *BACKWARD_NONSENSE)),
    ]


def is_of_torch(message: str) -> bool:
    """Whether a message is of torch's dispatcher, which has many words, not of the operator."""
    return 'Declaration: ' in message or 'Could not run ' in message


def refusal(namespace: str, item: str) -> str:
    """How an operator took nonsense: the error's type and message, or ``'accepted'``."""
    operator, name = item.split(': ', 1)
    torch.manual_seed(0)
    a = arguments()
    if operator == 'scan_backward':
        a = for_backward(a)
    {**NONSENSE, **BACKWARD_NONSENSE}[name](a)
    try:
        (forward if operator == 'scan' else backward)(namespace, a)
    except Exception as error:  # noqa: BLE001 - the test judges its type
        return f'{type(error).__name__}: {error}'
    return 'accepted'


if __name__ == '__main__':
    import os

    import children

    os.environ.setdefault('TRITON_INTERPRET', '1')
    _namespace = load(sys.argv[1])
    children.serve(lambda item: refusal(_namespace, item))
