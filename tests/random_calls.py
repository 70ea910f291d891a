"""Random calls of the operators, most of them valid: right results or an error, never a crash.

A number makes a call: sizes, types, layouts in memory, backend, derivative and, in about a
third of the calls, something that does not fit. What fits has to agree with the sequential
form in float64; what does not has to be taken for something that fits, or refused with an
error of the known types and a message that can be read.
"""

import functools
import itertools
import os
import random
import sys
import traceback
import warnings
from typing import Any, Callable, Dict, List, Optional, Tuple

if __name__ == '__main__':
    os.environ.setdefault('TRITON_INTERPRET', '1')

import scan_operator
import torch
from scan_cases import scan_arguments, ss2d_arguments
from torch import Tensor

from tinyvim_mm.ops import (
    CROSS_SCAN,
    SKIP_SCAN,
    BackendUnavailableError,
    ScanPath,
    position_table,
    scan_skipping,
    selective_scan,
    ss2d,
)
from tinyvim_mm.ops.backends import BACKENDS, kernel_backend
from tinyvim_mm.ops.backends.obstacle import float64_obstacle

#: All that a call may raise.
ERRORS = (TypeError, ValueError, RuntimeError)
#: Characters of a message.
LONGEST = 400
#: Relative error, far above rounding: what is looked for here is wrong altogether.
LIMITS = {torch.float64: 1e-7, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 8e-2}
#: What may not have a derivative of some kind, if it names who has.
KERNELS = ('cpu', 'triton', 'emulation')
QUICK = (None, None, 'auto', 'cpu', 'cpu', 'cpu', 'parallel', 'reference', 'exportable',
         'exportable_any_size')  # fmt: skip

Spoil = Callable[[random.Random, Any], Any]


class WrongError(Exception):
    """A call went wrong; the message says how."""


# ----------------------------------------------------------------------------
# Arguments
# ----------------------------------------------------------------------------


def laid_out(rng: random.Random, t: Tensor) -> Tensor:
    """The same values in another memory layout, among numbers that nobody may read."""
    way = rng.randrange(8)
    if way < 3 or t.dim() == 0:
        return t
    if way == 3:  # another order of the axes
        order = rng.sample(range(t.dim()), t.dim())
        back = [order.index(i) for i in range(t.dim())]
        return t.permute(order).contiguous().permute(back)
    if way == 4:  # the sign is made when it is read
        return torch._neg_view(-t)
    if way == 5:  # one number for a whole axis
        axis = rng.randrange(t.dim())
        return t.narrow(axis, 0, 1).expand_as(t) if t.shape[axis] else t
    steps = [rng.choice((1, 1, 2, 3)) for _ in t.shape]
    begin = [rng.randrange(3) for _ in t.shape]
    sizes = [b + s * n + 1 for b, s, n in zip(begin, steps, t.shape, strict=True)]
    # Not a number, so that a read beside the values shows.
    wide = torch.full(sizes, float('nan'), dtype=t.dtype)
    inside = tuple(slice(b, b + s * n, s) for b, s, n in zip(begin, steps, t.shape, strict=True))
    return wide[inside].copy_(t)


def size(rng: random.Random, *usual: int, rare: Tuple[int, ...] = ()) -> int:
    return rng.choice(rare) if rare and rng.random() < 0.12 else rng.choice(usual)


def types(rng: random.Random, count: int) -> List[torch.dtype]:
    """Of the first argument and the others."""
    way = rng.random()
    if way < 0.6:
        return [torch.float32] * count
    if way < 0.8:
        return [rng.choice(list(LIMITS))] * count
    first = rng.choice(list(LIMITS))
    others = [d for d in LIMITS if d != torch.float64 or first == torch.float64]
    return [first, *(rng.choice(others) for _ in range(count - 1))]


def table_of(rng: random.Random, paths: List[ScanPath], height: int, width: int) -> Tensor:
    length = height * width
    if rng.random() < 0.5 and paths:
        table = position_table(paths, height, width)
    else:
        rows = [torch.randperm(length) for _ in paths]
        table = torch.stack(rows) if rows else torch.empty(0, length, dtype=torch.long)
    small = [torch.int16, torch.int32, torch.int64, torch.int64]
    dtype = rng.choice([*small, torch.uint8, torch.int8] if length < 128 else small)
    return laid_out_table(rng, table.to(dtype))


def laid_out_table(rng: random.Random, table: Tensor) -> Tensor:
    way = rng.randrange(3)
    if way == 0:
        return table.t().contiguous().t()
    if way == 1:
        return table.repeat_interleave(2, 1)[:, ::2]
    return table


# ----------------------------------------------------------------------------
# What does not fit
# ----------------------------------------------------------------------------


def _another_size(rng: random.Random, t: Tensor) -> Tensor:
    if t.dim() == 0:
        return t[None]
    axis = rng.randrange(t.dim())
    way = rng.randrange(4)
    if way == 0:
        return t.narrow(axis, 0, max(t.shape[axis] - 1, 0))
    if way == 1:
        return torch.cat([t, t], axis)
    if way == 2:
        return t.narrow(axis, 0, 0)
    return t.movedim(axis, rng.randrange(t.dim()))


def _another_rank(rng: random.Random, t: Tensor) -> Tensor:
    way = rng.randrange(4)
    if way == 0:
        return t.flatten()
    if way == 1:
        return t.unsqueeze(rng.randrange(t.dim() + 1))
    if way == 2:
        return t.sum()
    return t.sum(0) if t.dim() else t


def _another_type(rng: random.Random, t: Tensor) -> Tensor:
    kinds = [torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool,
             torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2]  # fmt: skip
    return t.to(rng.choice(kinds))


def _another_kind(rng: random.Random, t: Tensor) -> Any:
    kinds = [
        lambda: t.to_sparse(),
        lambda: t.reshape(-1, max(t.shape[-1], 1)).to_sparse_csr(),
        lambda: t.float().to_mkldnn(),
        lambda: torch.nested.nested_tensor(list(t)),
        lambda: torch.nested.nested_tensor(list(t), layout=torch.jagged),
        lambda: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
        lambda: t.to('meta'),
        lambda: torch._efficientzerotensor(t.shape, dtype=t.dtype),
        lambda: torch.full_like(t, rng.choice([float('nan'), float('inf'), -1e30])),
    ]
    try:
        return rng.choice(kinds)()
    except (RuntimeError, IndexError, NotImplementedError, TypeError):
        return t.to('meta')  # that kind cannot be made of every tensor


def _no_tensor(rng: random.Random, t: Any) -> Any:
    return rng.choice([None, 1, -1.5, 'x', [], [1.0], (), {}, object(), True, ScanPath()])


SPOILS: List[Spoil] = [
    _another_size, _another_size, _another_rank, _another_type, _another_kind, _no_tensor
]  # fmt: skip


def _spoilt_paths(rng: random.Random, paths: Any, length: int) -> Any:
    table = torch.randint(-2, max(length, 0) + 2, (4, length))
    return rng.choice(
        [
            [], (), None, 'rows', 3, [0, 1, 2, 3], [None] * 4, CROSS_SCAN[:3], CROSS_SCAN * 2,
            ScanPath(), {0: ScanPath()}, table, table.float(), table.bool(), table.flatten(),
            table[:, :-1], table[:2], table[:0], table.to('meta'), table.to_sparse(),
            table.to(torch.complex64), table.to(torch.int8), table.long() + 2**40,
            torch.zeros(4, length, dtype=torch.long), torch.zeros(()), torch.zeros((), dtype=int),
        ]
    )  # fmt: skip


BACKEND_NAMES = ['fast', '', 'CPU', 3, ['cpu'], b'cpu', object(), 'cuda', 'mamba_ssm', 'triton']


# ----------------------------------------------------------------------------
# Calls of the public functions
# ----------------------------------------------------------------------------


class Call:
    """A call of a public function.

    Attributes:
        function: Takes tensors, and ``backend``.
        tensors: Some of which may be ``None``.
        backend: Its name.
        spoilt: Whether something may not fit.
        text: For a person.
    """

    def __init__(self, rng: random.Random, backends: Tuple[Optional[str], ...]) -> None:
        self.backend: Any = rng.choice(backends)
        small = self.backend == 'triton'
        self.make = rng.choice([self.make_map, self.make_map, self.make_sequence, self.make_skip])
        function, tensors, options = self.make(rng, small)
        kinds = types(rng, len(tensors))
        tensors = [
            None if t is None else laid_out(rng, t.to(dtype))
            for t, dtype in zip(tensors, kinds, strict=True)
        ]
        self.spoilt = rng.random() < 0.35
        if self.spoilt:
            for _ in range(rng.choice((1, 1, 1, 2))):
                self.spoil(rng, tensors, options)
        self.function, self.tensors = functools.partial(function, **options), tensors
        self.text = (
            f'{function.__name__}({", ".join(map(describe, tensors))}, '
            f'{", ".join(f"{k}={describe(v)}" for k, v in options.items())}, '
            f'backend={self.backend!r}), spoilt: {self.spoilt}'
        )

    def make_map(self, rng: random.Random, small: bool) -> Tuple:
        K = 1 if small else size(rng, 1, 2, 4, 4, rare=(3, 5, 9, 12))
        height, width = (1, 2) if small else (
            size(rng, 1, 2, 3, 5, rare=(0, 7, 17)),
            size(rng, 1, 2, 3, 4, rare=(0, 9, 16)),
        )  # fmt: skip
        tensors = ss2d_arguments(
            height, width, K=K, d=size(rng, 1, 2, 3, 5, 8, rare=(0, 16, 31, 33, 70)),
            R=size(rng, 1, 2, 3, rare=(0, 8, 33)), N=size(rng, 1, 2, 3, 8, rare=(4, 16, 17, 20)),
            batch=1 if small else size(rng, 1, 2, rare=(0, 3)),
        )  # fmt: skip
        paths: Any = [rng.choice(CROSS_SCAN) for _ in range(K)]
        if rng.random() < 0.3:
            paths = table_of(rng, paths, height, width)
        elif rng.random() < 0.5:
            paths = tuple(paths)
        return ss2d, list(tensors), {'paths': paths}

    def make_skip(self, rng: random.Random, small: bool) -> Tuple:
        height, width = (1, 1) if small else (
            size(rng, 1, 2, 3, 5, rare=(0, 8)), size(rng, 1, 2, 3, 4, rare=(0, 7))
        )  # fmt: skip
        tensors = ss2d_arguments(
            height, width, d=size(rng, 1, 2, 3, rare=(0, 33)), R=size(rng, 1, 2, rare=(0,)),
            N=size(rng, 1, 2, 3, 16), batch=1 if small else size(rng, 1, 2, rare=(0,)),
        )  # fmt: skip
        paths: Any = SKIP_SCAN
        if rng.random() < 0.3:
            paths = table_of(rng, list(paths), -(-height // 2), -(-width // 2))
        return skipping, list(tensors), {'paths': paths}

    def make_sequence(self, rng: random.Random, small: bool) -> Tuple:
        groups = 1 if small else size(rng, 1, 2, rare=(3, 9))
        batch = 1 if small else size(rng, 1, 2, rare=(0, 3))
        length = 3 if small else size(rng, 1, 2, 5, 16, rare=(0, 17, 33, 70))
        dim, N = groups * size(rng, 1, 2, 3, rare=(0, 33)), size(rng, 1, 2, 8, rare=(3, 16, 20))
        a = scan_arguments(length, N=N, dim=dim, groups=groups, batch=batch)
        softplus = rng.random() < 0.7
        if not softplus:  # steps that are negative let states grow without limit
            a['delta'], a['delta_bias'] = a['delta'].abs(), a['delta_bias'].abs()
        for name in ('D', 'z', 'delta_bias'):
            if rng.random() < 0.3:
                a[name] = None
        for name in ('B', 'C'):
            if rng.random() < 0.15:
                a[name] = torch.randn(dim, N)
            elif groups == 1 and rng.random() < 0.3:
                a[name] = a[name][:, 0]
        options = {'delta_softplus': softplus, 'return_last_state': rng.random() < 0.4}
        return selective_scan, list(a.values()), options

    def spoil(self, rng: random.Random, tensors: List[Any], options: Dict[str, Any]) -> None:
        way = rng.random()
        if way < 0.1:
            self.backend = rng.choice(BACKEND_NAMES)
        elif way < 0.3 and 'paths' in options:
            x = tensors[0]
            length = (
                x.shape[-1] * x.shape[-2]
                if isinstance(x, Tensor) and is_plain(x) and x.dim() > 1
                else 4
            )
            options['paths'] = _spoilt_paths(rng, options['paths'], min(length, 1000))
        else:
            i = rng.randrange(len(tensors))
            if isinstance(tensors[i], Tensor) and is_plain(tensors[i]):
                tensors[i] = rng.choice(SPOILS)(rng, tensors[i])
            else:
                tensors[i] = rng.choice([None, torch.randn(2), torch.randn(2, 2, 2)])

    # -- how it is called --

    def run(self, rng: random.Random) -> None:
        ways = [self.values, self.gradients, self.gradients, self.without_grad, self.inference,
                self.autocast, self.mapped, self.tangent, self.twice, self.in_place]  # fmt: skip
        way = rng.choice(ways)
        self.text += f', {way.__name__}'
        try:
            way(rng)
        except ERRORS as error:
            self.judge(error)

    def judge(self, error: Exception) -> None:
        """An error where all fits has to have its reason in the backend."""
        message = str(error)
        if len(message) > LONGEST:
            raise WrongError(f'a message of {len(message)} characters: {message[:900]}') from error
        if self.spoilt:
            return
        if isinstance(error, BackendUnavailableError):
            wide = self.tensors[0].dtype == torch.float64
            if self.backend in KERNELS and (wide or "'parallel'" in message):
                return
        elif isinstance(error, RuntimeError) and "'parallel'" in message:
            return
        raise WrongError(f'{type(error).__name__}: {message}') from error

    def leaves(self, rng: random.Random, every: bool = False) -> List[Any]:
        """Some of the tensors with gradients; of the kinds that can have them."""
        return [
            t.detach().requires_grad_()
            if isinstance(t, Tensor) and t.is_floating_point() and (every or rng.random() < 0.7)
            else t
            for t in self.tensors
        ]

    def results(self, tensors: List[Any]) -> Tuple[Tensor, ...]:
        y = self.function(*tensors, backend=self.backend)
        return y if isinstance(y, tuple) else (y,)

    def truth(self, tensors: Optional[List[Any]] = None) -> Tuple[Tensor, ...]:
        tensors = self.tensors if tensors is None else tensors
        y = self.function(
            *(None if t is None else t.double() for t in tensors), backend='reference'
        )
        return y if isinstance(y, tuple) else (y,)

    def limit(self) -> float:
        return max(LIMITS[t.dtype] for t in self.tensors if t is not None)

    def compare(self, what: str, actual: Tensor, expected: Tensor, limit: float) -> None:
        if actual.shape != expected.shape:
            raise WrongError(f'{what}: {tuple(actual.shape)}, not {tuple(expected.shape)}')
        difference = (actual.detach().double() - expected.detach()).norm()
        allowed = limit * (expected.detach().norm() + 0.1 * expected.numel() ** 0.5)
        if not difference <= allowed:
            raise WrongError(f'{what}: {difference:.3g} away from what has norm '
                             f'{expected.norm():.3g}')  # fmt: skip

    def check(self, results: Tuple[Tensor, ...], tensors: Optional[List[Any]] = None) -> None:
        if self.spoilt:
            for y in results:
                if not isinstance(y, Tensor):
                    raise WrongError(f'the result is a {type(y).__name__}')
            return
        if results[0].dtype != self.tensors[0].dtype:
            raise WrongError(f'the result is of {results[0].dtype}')
        for i, (got, true) in enumerate(zip(results, self.truth(tensors), strict=True)):
            self.compare(f'result {i}', got, true, self.limit())

    def values(self, rng: random.Random) -> None:
        self.check(self.results(self.tensors))

    def without_grad(self, rng: random.Random) -> None:
        with torch.no_grad():
            self.check(self.results(self.leaves(rng)))

    def inference(self, rng: random.Random) -> None:
        with torch.inference_mode():
            results = self.results(self.tensors)
        self.check(tuple(y.clone() if isinstance(y, Tensor) else y for y in results))

    def autocast(self, rng: random.Random) -> None:
        with torch.autocast('cpu', rng.choice([torch.bfloat16, torch.float16])):
            results = self.results(self.leaves(rng))
            if not self.spoilt:
                loss = sum(y.square().mean() for y in results if y.numel())
                if isinstance(loss, Tensor) and loss.requires_grad:
                    loss.backward()
        self.check(results)

    def in_place(self, rng: random.Random) -> None:
        before = [t.clone() if isinstance(t, Tensor) and is_plain(t) else t for t in self.tensors]
        results = self.results(self.leaves(rng))
        self.check(results)
        if self.spoilt:
            return
        copy = results[0].detach().clone()
        results[0].mul_(2)
        if not torch.equal(results[0].detach(), 2 * copy):
            raise WrongError('mul_(2) does not double it')
        if any(
            t is not None and not torch.equal(t, b)
            for t, b in zip(self.tensors, before, strict=True)
        ):
            raise WrongError('mul_(2) on the result changes an argument')
        if results[0].requires_grad:
            results[0].sum().backward()

    def gradients(self, rng: random.Random) -> None:
        leaves = self.leaves(rng)
        results = self.results(leaves)
        wanted = [t for t in leaves if isinstance(t, Tensor) and t.requires_grad]
        cotangents = [
            laid_out(rng, torch.randn(y.shape).to(y.dtype)).to(y.device)
            if isinstance(y, Tensor) and y.dim() else y
            for y in results
        ]  # fmt: skip
        differentiable = [
            (y, c) for y, c in zip(results, cotangents, strict=True)
            if isinstance(y, Tensor) and y.requires_grad
        ]  # fmt: skip
        if not differentiable:
            return
        outputs, cotangents = zip(*differentiable, strict=True)
        found = torch.autograd.grad(outputs, wanted, cotangents, allow_unused=True)
        if self.spoilt:
            return
        self.check(results)
        exact = [
            None if t is None else t.detach().double().requires_grad_(t.requires_grad)
            for t in leaves
        ]
        true = self.truth(exact)
        true = [y for y in true if y.requires_grad]
        expected = torch.autograd.grad(
            true, [t for t in exact if t is not None and t.requires_grad],
            [c.double() for c in cotangents], allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        for i, (leaf, got, other) in enumerate(zip(wanted, found, expected, strict=True)):
            if got is None:
                got = torch.zeros_like(leaf)
            if got.dtype != leaf.dtype:
                raise WrongError(f'gradient {i} is of {got.dtype}')
            self.compare(f'gradient {i}', got, other, self.limit())

    def mapped(self, rng: random.Random) -> None:
        """By vmap, along an additional axis of one argument or all."""
        present = [i for i, t in enumerate(self.tensors) if isinstance(t, Tensor)]
        if self.spoilt or not all(t is None or is_plain(t) for t in self.tensors):
            return
        chosen = present if rng.random() < 0.3 else [rng.choice(present)]
        dims = [0 if i in chosen else None for i in range(len(self.tensors))]
        values = [
            torch.stack([t, t * 0.5]) if dim == 0 else t
            for t, dim in zip(self.tensors, dims, strict=True)
        ]
        y = torch.func.vmap(functools.partial(self.function, backend=self.backend), tuple(dims))(
            *values
        )
        results = y if isinstance(y, tuple) else (y,)
        for i in range(2):
            single = [v if dim is None else v[i] for v, dim in zip(values, dims, strict=True)]
            self.check(tuple(r[i] for r in results), single)

    def tangent(self, rng: random.Random) -> None:
        if self.spoilt:
            return
        present = [i for i, t in enumerate(self.tensors) if t is not None]
        chosen = rng.sample(present, rng.randint(1, len(present)))
        # Torch makes no tangents for tensors with several elements in one place.
        primals = [self.tensors[i].clone().contiguous() for i in chosen]
        tangents = [torch.randn(t.shape).to(t.dtype) for t in primals]

        def along(call: Callable, values: List[Any], primals: List[Tensor], tangents: List[Tensor]):
            def function(*some: Tensor) -> Tuple[Tensor, ...]:
                given = dict(zip(chosen, some, strict=True))
                y = call(*(given.get(i, t) for i, t in enumerate(values)))
                return y if isinstance(y, tuple) else (y,)

            return torch.func.jvp(function, tuple(primals), tuple(tangents))

        call = functools.partial(self.function, backend=self.backend)
        values, found = along(call, self.tensors, primals, tangents)
        exact = [None if t is None else t.double() for t in self.tensors]
        _, expected = along(
            functools.partial(self.function, backend='reference'), exact,
            [t.double() for t in primals], [t.double() for t in tangents],
        )  # fmt: skip
        self.check(values)
        for i, (got, true) in enumerate(zip(found, expected, strict=True)):
            self.compare(f'tangent {i}', got, true, self.limit())

    def twice(self, rng: random.Random) -> None:
        """A gradient of gradients."""
        if self.spoilt:
            return

        def second(leaves: List[Any], results: Tuple[Tensor, ...]) -> List[Tensor]:
            wanted = [t for t in leaves if t is not None]
            loss = sum(y.double().square().sum() for y in results)
            first = torch.autograd.grad(
                loss, wanted, create_graph=True, allow_unused=True, materialize_grads=True
            )
            total = sum(g.double().square().sum() for g in first)
            return list(
                torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True)
            )

        leaves = self.leaves(rng, every=True)
        results = self.results(leaves)
        found = second(leaves, results)
        if self.limit() > LIMITS[torch.float32]:
            return  # of halves little is left in squares of squares
        exact = [None if t is None else t.detach().double().requires_grad_() for t in leaves]
        expected = second(exact, self.truth(exact))
        for i, (got, true) in enumerate(zip(found, expected, strict=True)):
            self.compare(f'second gradient {i}', got, true, 10 * self.limit())


def skipping(*tensors: Any, paths: Any, backend: Any) -> Tensor:
    return scan_skipping(functools.partial(ss2d, backend=backend), *tensors, paths=paths)


def is_plain(t: Tensor) -> bool:
    return t.layout == torch.strided and not t.is_nested and not t.is_quantized


def describe(value: Any) -> str:
    if not isinstance(value, Tensor):
        return repr(value)[:60]
    kind = f'{value.dtype}'.removeprefix('torch.')
    if not is_plain(value):
        return f'{"nested" if value.is_nested else value.layout} {kind}'
    strides = '' if value.is_contiguous() else f' strides {value.stride()}'
    return f'{kind}{list(value.shape)}{strides}{"" if value.device.type == "cpu" else " meta"}'


# ----------------------------------------------------------------------------
# Calls of the operators by their names
# ----------------------------------------------------------------------------


class DirectCall:
    """A call of ``scan`` or ``scan_backward`` in ``torch.ops``."""

    def __init__(self, rng: random.Random, namespace: str) -> None:
        self.namespace = namespace
        K = size(rng, 1, 2, 4, rare=(0, 3, 9))
        small = namespace.endswith('triton')
        height, width = (1, 2) if small else (
            size(rng, 1, 2, 5, rare=(0, 17)), size(rng, 1, 3, 4, rare=(0, 16))
        )  # fmt: skip
        a = scan_operator.arguments(
            height, width, batch=1 if small else size(rng, 1, 2, rare=(0,)),
            K=min(K, 1) if small else K, d=size(rng, 1, 3, 5, rare=(0, 8, 33)),
            N=size(rng, 1, 3, 8, rare=(0, 16, 20)), R=rng.choice([None, None, 0, 1, 2, 9]),
            shared=rng.random() < 0.6, order=rng.choice(['paths', 'positions', 'forwards']),
            options=rng.random() < 0.7, softplus=rng.random() < 0.7,
        )  # fmt: skip
        dtype = rng.choice([torch.float32, torch.float32, torch.float16, torch.bfloat16])
        a['x'] = a['x'].to(dtype)
        if a['step_weight'] is None and rng.random() < 0.5:
            a['step'] = a['step'].to(dtype)
        for name, t in a.items():
            if isinstance(t, Tensor) and t.is_floating_point():
                a[name] = laid_out(rng, t)
        if a['D'] is not None and rng.random() < 0.3:
            a[rng.choice(['D', 'bias'])] = None
        self.backward = rng.random() < 0.5
        if self.backward:
            truth = scan_operator.truth(a)
            a.update(scan_operator.for_backward(a), checkpoints=truth[2].float())
            for name in ('grad_last_state', 'checkpoints'):
                if rng.random() < 0.5:
                    a[name] = None
        self.kept = rng.random() < 0.5, rng.random() < 0.5
        self.spoilt = rng.random() < 0.5
        if self.spoilt:
            for _ in range(rng.choice((1, 1, 2))):
                self.spoil(rng, a)
        self.a = a
        self.text = (
            f'{namespace}.scan{"_backward" if self.backward else ""}('
            f'{", ".join(f"{k}={describe(v)}" for k, v in a.items())}), spoilt: {self.spoilt}'
        )

    def spoil(self, rng: random.Random, a: Dict[str, Any]) -> None:
        name = rng.choice(list(a))
        if name == 'width':
            a[name] = rng.choice([0, -1, -4, 5, 2**31, 2**62, -(2**63), a[name] + 1, None, 'x'])
        elif name == 'paths':
            a[name] = rng.choice([[0], [4] * 4, [-1] * 4, [0] * 100, [2**40] * 4, None, ['x'], 1])
            a['positions'] = None
        elif name == 'positions':
            length = a['step'].shape[2] if isinstance(a['step'], Tensor) else 4
            wild = torch.randint(-2, length + 3, (4, length), dtype=torch.int32)
            a[name] = rng.choice([wild, wild.long(), wild[:, 1:], wild[:1], wild.float(), wild[0],
                                  wild.to('meta'), wild * 10**8, 3])  # fmt: skip
        elif isinstance(a[name], Tensor) and is_plain(a[name]):
            a[name] = rng.choice(SPOILS)(rng, a[name])
        elif name in ('step_weight', 'D', 'bias', 'grad_last_state', 'checkpoints'):
            a[name] = rng.choice([torch.randn(2), torch.randn(4, 2, 3), torch.randn(4, 5), 0])

    def run(self, rng: random.Random) -> None:
        try:
            if self.backward:
                results = scan_operator.backward(self.namespace, self.a)
            else:
                results = scan_operator.forward(self.namespace, self.a, *self.kept)
        except ERRORS as error:
            message = str(error)
            if len(message) > LONGEST and not scan_operator.is_of_torch(message):
                raise WrongError(f'a message of {len(message)}: {message[:900]}') from error
            if not (self.spoilt or 'A must hold a path and a state' in message):
                raise WrongError(f'{type(error).__name__}: {message}') from error
            return
        if self.spoilt:
            return
        a = self.a
        if self.backward:
            expected = scan_operator.true_gradients(a, a['grad_y'], a['grad_last_state'])
            names: Any = scan_operator.GRADIENTS
        else:
            expected = list(scan_operator.truth(a))
            for i, kept in enumerate(self.kept, 1):
                if not kept:
                    expected[i] = torch.zeros(0)
            names = ('y', 'last state', 'checkpoints')
        limit = max(LIMITS[a['x'].dtype], LIMITS[a['step'].dtype])
        for name, got, true in zip(names, results, expected, strict=True):
            Call.compare(self, name, got, true, limit)  # type: ignore[arg-type]


class TableCall:
    """A call of :func:`position_table`."""

    def __init__(self, rng: random.Random) -> None:
        self.spoilt = rng.random() < 0.5
        self.paths: Any = [rng.choice(CROSS_SCAN) for _ in range(rng.randint(1, 4))]
        self.sizes = [rng.choice([0, 1, 2, 5]) for _ in range(2)]
        if self.spoilt:
            self.sizes[rng.randrange(2)] = rng.choice([-1, 0, -3])
        if self.spoilt and rng.random() < 0.5:
            self.paths = rng.choice([[], None, [0], 'rows', [ScanPath(), None], ScanPath()])
        self.text = f'position_table({self.paths}, {self.sizes})'

    def run(self, rng: random.Random) -> None:
        try:
            table = position_table(self.paths, *self.sizes)
        except ERRORS as error:
            if not self.spoilt or len(str(error)) > LONGEST:
                raise WrongError(f'{type(error).__name__}: {error}') from error
            return
        if not self.spoilt:
            length = self.sizes[0] * self.sizes[1]
            rows = torch.arange(length).expand(len(self.paths), length)
            if not torch.equal(table.sort(1)[0], rows):
                raise WrongError('a row is no permutation')


# ----------------------------------------------------------------------------


def outcome(seed: int, backends: Tuple[Optional[str], ...], namespaces: Tuple[str, ...]) -> str:
    """Make the call of a number: empty if all is well, or what went wrong."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    text = 'the arguments'
    try:
        way = rng.random()
        if way < 0.7:
            call: Any = Call(rng, backends)
        elif way < 0.95:
            call = DirectCall(rng, rng.choice(namespaces))
        else:
            call = TableCall(rng)
        text = call.text
        call.run(rng)
    except WrongError as error:
        return f'{text}: {error}'
    except Exception:  # noqa: BLE001 - of no type that a call may raise
        return f'{text}: {traceback.format_exc(limit=-4)}'
    return ''


def main() -> None:
    import children

    warnings.simplefilter('ignore')
    # Fresh memory is filled with numbers that show where nobody wrote.
    torch.use_deterministic_algorithms(True, warn_only=True)
    backends: Tuple[Optional[str], ...] = QUICK
    namespaces: Tuple[str, ...] = ('tinyvim_mm',)
    for name in sys.argv[1:]:
        namespace = scan_operator.load(name)
        if name == 'emulation':
            from scan_cases import emulated

            BACKENDS[name] = kernel_backend(
                name, emulated(), lambda device, dtype: float64_obstacle(dtype)
            )
        backends, namespaces = (*backends, *itertools.repeat(name, 2)), (*namespaces, namespace)
    children.serve(lambda seed: outcome(seed, backends, namespaces))


if __name__ == '__main__':
    main()
