"""Derivatives of every kind, of the public operators on every backend.

The kernels have a derivative of first order by hand. What they do not have, forward mode
and second order, must be computed otherwise or refused with the name of the backend
that has it: never zero or wrong without a word.
"""

import contextlib
import warnings
from functools import partial

import golden
import pytest
import torch
import torch.autograd.forward_ad as fwAD
from scan_cases import (
    ALL,
    BOTH,
    RUNNABLE,
    SCAN_TENSORS,
    Subject,
    over,
    scan_arguments,
    skipping,
    ss2d_arguments,
)

from tinyvim_mm.ops import (
    BackendUnavailableError,
    ScanPath,
    backends,
    position_table,
    selective_scan,
    ss2d,
)

PATHS = (ScanPath(), ScanPath(True, True))
#: Its derivatives are made as those of the others, so `make test-all` is soon enough.
SLOW = Subject('triton', work=12, slow=True)
KERNELS = [Subject('cpu'), Subject('emulation'), SLOW]
KERNEL_NAMES = [subject.backend for subject in KERNELS]
#: What is differentiated by torch throughout.
PLAIN = [subject for subject in ALL if torch.float64 in subject.dtypes]
#: The stand-in for mamba-ssm computes as the reference does.
EVERY = [*PLAIN, *KERNELS]
REFUSALS = (BackendUnavailableError, NotImplementedError)
#: Float32 against float64.
LIMIT = 2e-5


def _along_paths(*arguments, backend):
    return ss2d(*arguments, PATHS[: len(arguments[1])], backend=backend)


def _along_a_table(*arguments, backend):
    paths = PATHS[: len(arguments[1])]
    table = position_table(paths, *arguments[0].shape[2:])
    return ss2d(*arguments, table.flip(1), backend=backend)


def _sequence(*arguments, backend):
    y, state = selective_scan(
        *arguments[:6],
        delta_bias=arguments[6],
        delta_softplus=True,
        return_last_state=True,
        backend=backend,
    )
    return torch.cat([y.flatten(), state.flatten()])


FUNCTIONS = {'paths': _along_paths, 'table': _along_a_table, 'sequence': _sequence}
every_function = pytest.mark.parametrize('name', [*FUNCTIONS, 'skipping'])


def problem(name, subject, dtype=torch.float32, batch=2):
    """A function of tensors only, and its arguments: few, for a backend that is slow."""
    small = subject.work is not None
    if name == 'sequence':
        a = scan_arguments(
            3 if small else 9,
            N=2,
            dim=2 if small else 4,
            groups=1 if small else 2,
            batch=1 if small else batch,
            dtype=dtype,
        )
        return FUNCTIONS[name], [a[n] for n in SCAN_TENSORS]
    if name == 'skipping':
        size = (1, 2) if small else (3, 5)
        arguments = ss2d_arguments(*size, d=2, R=1, N=2, K=4, batch=1 if small else batch)
        return skipping, [a.to(dtype) for a in arguments]
    size, K = ((1, 3), 1) if small else ((3, 4), 2)
    arguments = ss2d_arguments(*size, d=3, R=2, N=2, K=K, batch=1 if small else batch)
    return FUNCTIONS[name], [a.to(dtype) for a in arguments]


def doubles(arguments):
    return [a.detach().double() for a in arguments]


def right_or_refused(compute, expected, errors=REFUSALS, limit=LIMIT):
    """Whether it was computed; then it is right, and else the error names who can."""
    message = None
    try:
        actual = compute()
    except errors as error:
        message = str(error)
    if message is None:
        golden.assert_close('derivative', actual, expected, limit)
    else:
        assert "'parallel'" in message, message
        assert len(message) < 400
    return message is None


@contextlib.contextmanager
def refused_by_kernels(backend):
    """A block that a kernel need not carry out, if it says who does."""
    try:
        yield
    except REFUSALS as error:
        message = str(error)
        if backend not in KERNEL_NAMES or "'parallel'" not in message or len(message) > 400:
            raise


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
        one = partial(_along_paths, backend=subject.backend)
        return torch.func.vmap(one, (0, *(None,) * 5))(maps, *weights)

    with refused_by_kernels(subject.backend):
        actual = torch.func.vmap(of_all, (None, *(0,) * 5))(maps, *scaled)
        for i in range(2):
            for j in range(3):
                chosen = [w[i] for w in scaled]
                expected = _along_paths(maps[j], *chosen, backend=subject.backend)
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
@pytest.mark.parametrize('name', ['paths', 'table', 'skipping', 'selective_scan', 'gated'])
@over(EVERY)
def test_results_may_be_changed_in_place(subject, name, gradients, change):
    if name in ('paths', 'table', 'skipping'):
        function, arguments = problem(name, subject)
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
    expected = change(function(*exact, backend='reference'))
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
