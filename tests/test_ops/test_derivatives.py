"""Derivatives of every kind, of the public operators on every backend.

The kernels have a derivative of first order by hand. What they do not have, forward mode
and second order, must be computed otherwise or refused with the name of the backend
that has it: never zero or wrong without a word.
"""

import warnings
from functools import partial

import golden
import pytest
import torch
import torch.autograd.forward_ad as fwAD
from derivative_cases import (
    EVERY,
    KERNELS,
    LIMIT,
    PLAIN,
    doubles,
    every_function,
    problem,
    right_or_refused,
)
from scan_cases import BOTH, RUNNABLE, Subject, over

from tinyvim_mm.ops import backends

# ----------------------------------------------------------------------------
# Against finite differences
# ----------------------------------------------------------------------------


@every_function
@over([s for s in PLAIN if s.backend != 'exportable_any_size'])
def test_gradcheck_of_both_modes_and_of_second_order(subject, name):
    function, arguments = problem(name, subject, torch.float64, batch=1)
    leaves = [a.requires_grad_() for a in arguments]
    function = partial(function, backend=subject.backend)
    quick = {'fast_mode': True}
    assert torch.autograd.gradcheck(
        function, leaves, check_forward_ad=True, check_batched_grad=True, **quick
    )
    assert torch.autograd.gradgradcheck(function, leaves, check_fwd_over_rev=True, **quick)


# ----------------------------------------------------------------------------
# Forward mode
# ----------------------------------------------------------------------------


def tangent_by_jvp(function, arguments, tangents):
    varying = {i: t for i, t in enumerate(tangents) if t is not None}

    def of_those(*values):
        given = dict(zip(varying, values, strict=True))
        return function(*(given.get(i, a) for i, a in enumerate(arguments)))

    primals = tuple(arguments[i] for i in varying)
    return torch.func.jvp(of_those, primals, tuple(varying.values()))[1]


def tangent_by_dual_numbers(function, arguments, tangents):
    with fwAD.dual_level():
        duals = [
            a if t is None else fwAD.make_dual(a, t)
            for a, t in zip(arguments, tangents, strict=True)
        ]
        tangent = fwAD.unpack_dual(function(*duals)).tangent
        return torch.zeros(()) if tangent is None else tangent.clone()


def tangent_without_grad(function, arguments, tangents):
    # Forward mode does not ask whether reverse mode is on.
    with torch.no_grad():
        return tangent_by_dual_numbers(function, arguments, tangents)


def tangent_beside_reverse_mode(function, arguments, tangents):
    leaves = [a.detach().clone().requires_grad_() for a in arguments]
    return tangent_by_dual_numbers(function, leaves, tangents)


WAYS = [
    tangent_by_jvp,
    tangent_by_dual_numbers,
    tangent_without_grad,
    tangent_beside_reverse_mode,
]
every_way = pytest.mark.parametrize('way', WAYS)


def directions(arguments):
    """Tangents of each argument alone, and of all."""
    every = [torch.randn_like(a) for a in arguments]
    alone = [[t if i == j else None for j, t in enumerate(every)] for i in range(len(arguments))]
    return [*alone, every]


def true_tangent(function, arguments, tangents):
    exact = [None if t is None else t.double() for t in tangents]
    # Of the form that gradcheck compares with finite differences.
    return tangent_by_jvp(partial(function, backend='reference'), doubles(arguments), exact)


@every_way
@every_function
@pytest.mark.parametrize('dtype', BOTH, ids=str)
@pytest.mark.filterwarnings('ignore:.*:UserWarning')
def test_forward_mode_of_the_automatic_choice(dtype, name, way):
    function, arguments = problem(name, Subject('cpu'), dtype)
    for tangents in directions(arguments):
        actual = way(partial(function, backend=None), arguments, tangents)
        expected = true_tangent(function, arguments, tangents)
        limit = LIMIT if dtype == torch.float32 else 1e-10
        golden.assert_close('tangent', actual, expected, limit)


@pytest.mark.filterwarnings('ignore:.*:UserWarning')
def test_the_automatic_tangent_agrees_with_finite_differences():
    function, arguments = problem('paths', Subject('cpu'), torch.float64)
    function = partial(function, backend=None)
    for tangents in directions(arguments):
        ahead, behind = (
            function(
                *(
                    a if t is None else a + step * t
                    for a, t in zip(arguments, tangents, strict=True)
                )
            )
            for step in (1e-6, -1e-6)
        )
        actual = tangent_by_jvp(function, arguments, tangents)
        golden.assert_close('tangent', actual, (ahead - behind) / 2e-6, 1e-7)


@pytest.mark.filterwarnings('ignore:.*:UserWarning')
@every_function
def test_forward_mode_of_the_automatic_choice_through_a_jacobian(name):
    function, arguments = problem(name, Subject('cpu'), batch=1)
    exact = doubles(arguments)
    for i in range(len(arguments)):
        actual = torch.func.jacfwd(partial(function, backend=None), i)(*arguments)
        expected = torch.func.jacfwd(partial(function, backend='reference'), i)(*exact)
        golden.assert_close(f'Jacobian {i}', actual, expected, LIMIT)


@every_way
@every_function
@over(PLAIN)
def test_forward_mode_of_what_torch_differentiates(subject, name, way):
    function, arguments = problem(name, subject)
    for tangents in directions(arguments):
        actual = way(partial(function, backend=subject.backend), arguments, tangents)
        golden.assert_close('tangent', actual, true_tangent(function, arguments, tangents), LIMIT)


@every_way
@every_function
@over(KERNELS)
def test_a_kernel_that_is_asked_for_has_forward_mode_or_says_who_has(subject, name, way):
    function, arguments = problem(name, subject)
    for tangents in directions(arguments):
        right_or_refused(
            lambda t=tangents: way(partial(function, backend=subject.backend), arguments, t),
            true_tangent(function, arguments, tangents),
        )


@over(KERNELS)
def test_a_kernel_refuses_a_jacobian_by_forward_mode_or_has_it(subject):
    function, arguments = problem('paths', subject, batch=1)
    expected = torch.func.jacfwd(partial(function, backend='reference'))(*doubles(arguments))
    compute = torch.func.jacfwd(partial(function, backend=subject.backend))
    right_or_refused(lambda: compute(*arguments), expected)


@pytest.mark.skipif('cpu' not in RUNNABLE, reason='the operators were not compiled')
@every_way
def test_a_kernel_that_the_environment_names_is_no_automatic_choice(monkeypatch, way):
    monkeypatch.setenv(backends.ENVIRONMENT_VARIABLE, 'cpu')
    function, arguments = problem('paths', Subject('cpu'))
    for tangents in directions(arguments):
        right_or_refused(
            lambda t=tangents: way(partial(function, backend=None), arguments, t),
            true_tangent(function, arguments, tangents),
        )


@pytest.mark.skipif('cpu' not in RUNNABLE, reason='the operators were not compiled')
def test_the_slow_path_of_forward_mode_is_announced_once(monkeypatch):
    monkeypatch.setattr(backends, '_announced', set())
    function, arguments = problem('paths', Subject('cpu'))
    function = partial(function, backend=None)
    tangents = directions(arguments)[-1]
    function(*arguments)
    with pytest.warns(UserWarning, match='(?i)parallel|plain PyTorch') as caught:
        tangent_by_jvp(function, arguments, tangents)
    assert 'forward' in str(caught[0].message).lower()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        tangent_by_jvp(function, arguments, tangents)
        tangent_by_dual_numbers(function, arguments, tangents)


@pytest.mark.filterwarnings('ignore:.*:UserWarning')
def test_a_dual_number_beside_the_scan_is_no_matter():
    function, arguments = problem('paths', Subject('cpu'))
    expected = function(*arguments, backend=None)
    with fwAD.dual_level():
        other = fwAD.make_dual(torch.ones(1), torch.ones(1))
        y = function(*arguments, backend=None) * other
        golden.assert_close('tangent', fwAD.unpack_dual(y).tangent, expected, LIMIT)


# ----------------------------------------------------------------------------
# Second order
# ----------------------------------------------------------------------------

LOSSES = {
    # The gradient of the result is a constant here, which needs no gradient itself.
    'linear': lambda y: y.sum(),
    'weighted': lambda y: (y * torch.linspace(-1, 1, y.numel()).view(y.shape).to(y)).sum(),
    'square': lambda y: y.square().sum(),
}


def second_gradients(function, arguments, loss):
    """Gradients of the squared gradients of a loss, in one vector."""
    leaves = [a.detach().clone().requires_grad_() for a in arguments]
    first = torch.autograd.grad(loss(function(*leaves)), leaves, create_graph=True)
    total = sum(g.square().sum() for g in first)
    second = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in second])


@pytest.mark.parametrize('loss', LOSSES.values(), ids=LOSSES)
@every_function
@over(EVERY)
def test_a_gradient_of_gradients_is_right_or_refused(subject, name, loss):
    function, arguments = problem(name, subject)
    expected = second_gradients(partial(function, backend='reference'), doubles(arguments), loss)
    computed = right_or_refused(
        lambda: second_gradients(partial(function, backend=subject.backend), arguments, loss),
        expected,
        RuntimeError,
        1e-4,
    )
    assert computed or subject in KERNELS


@pytest.mark.parametrize('index', range(6))
@over(EVERY)
def test_a_gradient_of_one_gradient_is_right_or_refused(subject, index):
    """Where one argument alone has a gradient, torch calls a backward with less."""
    function, arguments = problem('paths', subject)
    results = []

    def second(backend, arguments):
        leaf = arguments[index].detach().clone().requires_grad_()
        y = function(*arguments[:index], leaf, *arguments[index + 1 :], backend=backend)
        (first,) = torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
        results.append(first.detach())
        return torch.autograd.grad(first.square().sum(), leaf)[0]

    expected = second('reference', doubles(arguments))
    computed = right_or_refused(
        lambda: second(subject.backend, arguments), expected, RuntimeError, 1e-4
    )
    assert computed or subject in KERNELS
    if len(results) == 2:  # it may also refuse when the first is asked for
        golden.assert_close('first', results[1], results[0], LIMIT)


@over(EVERY)
def test_a_tangent_by_two_backwards_is_right_or_refused(subject):
    """The product with the Jacobian by differentiating the backward with respect to grad_y."""
    function, arguments = problem('paths', subject)
    tangents = directions(arguments)[-1]

    def by_two_backwards():
        leaves = [a.detach().clone().requires_grad_() for a in arguments]
        y = function(*leaves, backend=subject.backend)
        v = torch.zeros_like(y, requires_grad=True)
        first = torch.autograd.grad(y, leaves, v, create_graph=True)
        return torch.autograd.grad(first, v, tangents)[0]

    expected = true_tangent(function, arguments, tangents)
    computed = right_or_refused(by_two_backwards, expected, RuntimeError)
    assert computed or subject in KERNELS


@pytest.mark.filterwarnings('ignore:.*:UserWarning')
@pytest.mark.parametrize('backend', [None, *RUNNABLE, 'exportable'])
@pytest.mark.parametrize(
    'hessian',
    [
        torch.func.hessian,
        lambda f: torch.func.jacrev(torch.func.jacrev(f)),
        lambda f: torch.func.jacrev(torch.func.jacfwd(f)),
        lambda f: torch.func.jacfwd(torch.func.jacfwd(f)),
        lambda f: partial(torch.autograd.functional.hessian, f),
    ],
    ids=['hessian', 'reverse over reverse', 'reverse over forward', 'forward over forward', 'old'],
)
def test_hessians_are_right_or_refused(hessian, backend):
    function, arguments = problem('paths', Subject('cpu'), batch=1)
    for i in range(len(arguments)):

        def loss(value, backend, arguments, i=i):
            return function(*arguments[:i], value, *arguments[i + 1 :], backend=backend).sum()

        exact = doubles(arguments)
        expected = torch.func.hessian(partial(loss, backend='reference', arguments=exact))(exact[i])
        computed = right_or_refused(
            lambda loss=loss, i=i: hessian(partial(loss, backend=backend, arguments=arguments))(
                arguments[i]
            ),
            expected,
            RuntimeError,
            1e-4,
        )
        assert computed or backend in (None, 'cpu')
