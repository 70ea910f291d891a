"""Gradients by ``torch.func`` and under autocast, and results that are changed in place.

A kernel may refuse a transform, if it names the backend that knows it.
"""

from functools import partial

import golden
import pytest
import torch
import torch.autograd.forward_ad as fwAD
from derivative_cases import (
    EVERY,
    LIMIT,
    along_paths,
    doubles,
    every_function,
    problem,
    refused_by_kernels,
)
from scan_cases import over, ss2d_arguments

from tinyvim_mm.ops import selective_scan

# ----------------------------------------------------------------------------
# First order, by torch.func
# ----------------------------------------------------------------------------


@every_function
@over(EVERY)
def test_functional_gradients(subject, name):
    function, arguments = problem(name, subject)
    places = tuple(range(len(arguments)))

    def loss(*values, backend):
        return function(*values, backend=backend).square().sum()

    expected = torch.func.grad(partial(loss, backend='reference'), places)(*doubles(arguments))
    for backend in (subject.backend, None):
        with refused_by_kernels(backend):
            actual = torch.func.grad(partial(loss, backend=backend), places)(*arguments)
            for i, (got, wanted) in enumerate(zip(actual, expected, strict=True)):
                golden.assert_close(f'gradient {i}', got, wanted, LIMIT)


@every_function
@over(EVERY)
def test_jacobians_by_reverse_mode(subject, name):
    function, arguments = problem(name, subject, batch=1)
    # A slow backend would run a kernel for each row.
    places = tuple(range(len(arguments)))[: 2 if subject.work else None]
    exact = partial(function, backend='reference')
    expected = torch.func.jacrev(exact, places)(*doubles(arguments))
    with refused_by_kernels(subject.backend):
        actual = torch.func.jacrev(partial(function, backend=subject.backend), places)(*arguments)
        for i, (got, wanted) in enumerate(zip(actual, expected, strict=True)):
            golden.assert_close(f'Jacobian {i}', got, wanted, LIMIT)


@every_function
@over(EVERY)
def test_gradients_for_several_cotangents_at_once(subject, name):
    function, arguments = problem(name, subject)
    leaves = [a.detach().clone().requires_grad_() for a in arguments]
    y = function(*leaves, backend=subject.backend)
    cotangents = torch.randn(2, *y.shape)
    with refused_by_kernels(subject.backend):
        at_once = torch.autograd.grad(
            y, leaves, cotangents, retain_graph=True, is_grads_batched=True
        )
        for i, cotangent in enumerate(cotangents):
            single = torch.autograd.grad(y, leaves, cotangent, retain_graph=True)
            for got, wanted in zip(at_once, single, strict=True):
                golden.assert_close('gradient', got[i], wanted, 1e-6)


def gradients_of(y, leaves, cotangent=None):
    """Zeros where an argument takes no part, as decays over one step."""
    return torch.autograd.grad(y, leaves, cotangent, allow_unused=True, materialize_grads=True)


def with_copies(arguments, dims, copies=2):
    """Arguments with an axis of copies, each changed a little, where ``dims`` has a place."""
    return [
        a if dim is None else torch.stack([a * (1 + 0.1 * i) for i in range(copies)], dim)
        for a, dim in zip(arguments, dims, strict=True)
    ]


def pick(values, dims, i):
    return [a if dim is None else a.select(dim, i) for a, dim in zip(values, dims, strict=True)]


def batchings(count):
    """Where the arguments of :func:`torch.func.vmap` have their additional axis."""
    return {
        'x': (0, *(None,) * (count - 1)),
        'x, last axis': (-1, *(None,) * (count - 1)),
        'weights': (None, *(0,) * (count - 1)),
        'weights, second axis': (None, *(1,) * (count - 1)),
        'one weight': (*(None,) * (count - 1), 0),
        'all': (0,) * count,
    }


@pytest.mark.filterwarnings('ignore:the scan runs in plain PyTorch')
@pytest.mark.parametrize('batched', batchings(6))
@every_function
@over(EVERY)
def test_vmap(subject, name, batched):
    function, arguments = problem(name, subject)
    dims = batchings(len(arguments))[batched]
    values = with_copies(arguments, dims)
    loop = partial(function, backend=subject.backend)
    expected = torch.stack([loop(*pick(values, dims, i)) for i in range(2)])
    leaves = [v.detach().clone().requires_grad_() for v in values]
    y = torch.stack([loop(*pick(leaves, dims, i)) for i in range(2)])
    cotangent = torch.randn_like(y)
    gradients = gradients_of(y, leaves, cotangent)
    for backend in (subject.backend, None):
        with refused_by_kernels(backend):
            mapped = torch.func.vmap(partial(function, backend=backend), dims)
            golden.assert_close('y', mapped(*values), expected, 2e-6)
            actual = gradients_of(mapped(*leaves), leaves, cotangent)
            for got, wanted in zip(actual, gradients, strict=True):
                golden.assert_close('gradient', got, wanted, LIMIT)


@over([s for s in EVERY if s.work is None])
def test_vmap_of_vmap(subject):
    x, *weights = problem('paths', subject)[1]
    maps = torch.stack([x, 2 * x, 3 * x])
    scaled = [torch.stack([w, 1.1 * w]) for w in weights]

    def of_all(maps, *weights):
        one = partial(along_paths, backend=subject.backend)
        return torch.func.vmap(one, (0, *(None,) * 5))(maps, *weights)

    with refused_by_kernels(subject.backend):
        actual = torch.func.vmap(of_all, (None, *(0,) * 5))(maps, *scaled)
        for i in range(2):
            for j in range(3):
                chosen = [w[i] for w in scaled]
                expected = along_paths(maps[j], *chosen, backend=subject.backend)
                golden.assert_close('y', actual[i, j], expected, 2e-6)


@pytest.mark.filterwarnings('ignore:the scan runs in plain PyTorch')
@pytest.mark.parametrize('name', ['paths', 'table', 'skipping'])
@over(EVERY)
def test_gradients_of_each_sample(subject, name):
    function, (x, *weights) = problem(name, subject)
    samples = torch.cat([x, 0.5 * x])

    def loss(sample, *weights, backend):
        return function(sample[None], *weights, backend=backend).square().sum()

    def alone(sample):
        leaves = [t.detach().clone().requires_grad_() for t in (sample, *weights)]
        return gradients_of(loss(*leaves, backend=subject.backend), leaves)

    expected = [alone(sample) for sample in samples]
    for backend in (subject.backend, None):
        with refused_by_kernels(backend):
            gradient = torch.func.grad(partial(loss, backend=backend), tuple(range(6)))
            actual = torch.func.vmap(gradient, (0, *(None,) * 5))(samples, *weights)
            for i, of_sample in enumerate(expected):
                for got, wanted in zip(actual, of_sample, strict=True):
                    golden.assert_close('gradient', got[i], wanted, LIMIT)


@over([s for s in EVERY if s.work is None])
def test_gradients_of_each_model_of_an_ensemble(subject):
    function, (x, *weights) = problem('paths', subject)
    several = [torch.stack([w, 1.1 * w]) for w in weights]

    def loss(*weights, backend):
        return function(x.to(weights[0]), *weights, backend=backend).square().sum()

    exact = torch.func.grad(partial(loss, backend='reference'), tuple(range(5)))
    with refused_by_kernels(subject.backend):
        gradient = torch.func.grad(partial(loss, backend=subject.backend), tuple(range(5)))
        actual = torch.func.vmap(gradient)(*several)
        for i in range(2):
            expected = exact(*(w[i].double() for w in several))
            for got, wanted in zip(actual, expected, strict=True):
                golden.assert_close('gradient', got[i], wanted, LIMIT)


@over(EVERY)
def test_a_pullback_may_be_called_after_the_transform(subject):
    function, arguments = problem('paths', subject)
    with refused_by_kernels(subject.backend):
        y, pullback = torch.func.vjp(partial(function, backend=subject.backend), *arguments)
        cotangent = torch.randn_like(y)
        actual = pullback(cotangent)
        exact = torch.func.vjp(partial(function, backend='reference'), *doubles(arguments))[1]
        for got, wanted in zip(actual, exact(cotangent.double()), strict=True):
            golden.assert_close('gradient', got, wanted, LIMIT)


@over(EVERY)
def test_a_tangent_of_a_gradient_whose_graph_is_older(subject):
    """Forward mode over a backward pass: nothing is called by the user inside it."""
    function, arguments = problem('paths', subject)
    direction, rate = (torch.randn_like(arguments[0]) for _ in range(2))

    def tangents(backend, dtype):
        leaves = [a.detach().to(dtype).requires_grad_() for a in arguments]
        y = function(*leaves, backend=backend)
        with fwAD.dual_level():
            cotangent = fwAD.make_dual(direction.to(dtype), rate.to(dtype))
            gradients = torch.autograd.grad(y, leaves, cotangent)
            found = [fwAD.unpack_dual(g).tangent for g in gradients]
            return [torch.zeros(1) if t is None else t.clone() for t in found]

    expected = tangents('reference', torch.float64)
    with refused_by_kernels(subject.backend):
        for got, wanted in zip(tangents(subject.backend, torch.float32), expected, strict=True):
            golden.assert_close('tangent', got, wanted, LIMIT)


@over(EVERY)
def test_two_backwards_of_one_graph_agree(subject):
    function, arguments = problem('paths', subject)
    leaves = [a.requires_grad_() for a in arguments]
    y = function(*leaves, backend=subject.backend)
    first = torch.autograd.grad(y.sum(), leaves, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(y.sum(), leaves), strict=True):
        assert torch.equal(one, other)


# ----------------------------------------------------------------------------
# Autocast, and results that are changed in place
# ----------------------------------------------------------------------------


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@every_function
@over(EVERY)
def test_backward_inside_autocast(subject, name, dtype):
    function, arguments = problem(name, subject)
    arguments[0] = arguments[0].to(dtype)
    results = []
    for enabled in (True, False):
        leaves = [a.detach().clone().requires_grad_() for a in arguments]
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            y = function(*leaves, backend=subject.backend)
            y.square().sum().backward()
        results.append([y, *(leaf.grad for leaf in leaves)])
    for i, (inside, outside) in enumerate(zip(*results, strict=True)):
        assert inside.dtype == outside.dtype
        golden.assert_close(f'result {i}', inside, outside, 2e-2)


def _doubled(y):
    return y.mul_(2)


def _raised(y):
    return y.add_(1)


def _partly_zero(y):
    y[:, :1].zero_()
    return y


CHANGES = [_doubled, _raised, _partly_zero]


@pytest.mark.parametrize('change', CHANGES)
@pytest.mark.parametrize('gradients', [True, False])
@pytest.mark.parametrize(
    'name', ['paths', 'one path', 'table', 'skipping', 'selective_scan', 'gated']
)
@over(EVERY)
def test_results_may_be_changed_in_place(subject, name, gradients, change):
    if name in ('paths', 'table', 'skipping'):
        function, arguments = problem(name, subject)
    elif name == 'one path':  # whose results nothing is added to
        function, arguments = along_paths, ss2d_arguments(1, 3, d=3, R=2, N=2, K=1, batch=1)
    else:
        _, arguments = problem('sequence', subject)
        z = [torch.randn_like(arguments[0])] if name == 'gated' else [None]

        def function(*a, backend):
            return selective_scan(
                *a[:6], *(None if t is None else t.to(a[0]) for t in z), a[6], True,
                backend=backend,
            )  # fmt: skip

    before = [a.clone() for a in arguments]
    leaves = [a.requires_grad_(gradients) for a in arguments]
    y = change(function(*leaves, backend=subject.backend))
    exact = [a.double().requires_grad_() for a in before]
    expected = change(function(*exact, backend='reference').clone())
    golden.assert_close('y', y, expected, LIMIT)
    assert all(torch.equal(a, b) for a, b in zip(before, arguments, strict=True))
    if gradients:
        actual = torch.autograd.grad(y.square().sum(), leaves)
        wanted = torch.autograd.grad(expected.square().sum(), exact)
        for i, (got, true) in enumerate(zip(actual, wanted, strict=True)):
            golden.assert_close(f'gradient {i}', got, true, 5e-5)


@over(EVERY)
def test_a_last_state_changed_in_place_gives_right_gradients_or_an_error(subject):
    arguments = problem('sequence', subject)[1]

    def result(backend, values, change):
        leaves = [a.detach().clone().requires_grad_() for a in values]
        y, state = selective_scan(
            *leaves[:6], None, leaves[6], True, return_last_state=True, backend=backend
        )
        state = change(state)
        loss = state.square().sum() + y.square().sum()
        return [state, *torch.autograd.grad(loss, leaves)]

    expected = result('reference', doubles(arguments), lambda state: 2 * state)
    try:
        actual = result(subject.backend, arguments, lambda state: state.mul_(2))
    except RuntimeError as error:  # torch's own, where the backward needs the state
        if 'modified by an inplace operation' not in str(error):
            raise
        return
    for got, wanted in zip(actual, expected, strict=True):
        golden.assert_close('result', got, wanted, 5e-5)


@over(EVERY)
def test_a_result_of_inference_mode_may_be_changed_in_place(subject):
    function, arguments = problem('paths', subject)
    expected = function(*arguments, backend=subject.backend)
    with torch.inference_mode():
        y = function(*arguments, backend=subject.backend).mul_(2)
    golden.assert_close('y', y, 2 * expected, 1e-6)
