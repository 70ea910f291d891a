"""Arguments that are empty, odd or nonsense: the right result or one sentence, never a crash."""

import functools
import itertools

import children
import golden
import pytest
import scan_operator
import torch
from scan_cases import (
    ALL,
    RUNNABLE,
    WEIGHTS,
    Subject,
    needs_library,
    over,
    scan_arguments,
    skipping,
    ss2d_arguments,
)
from torch._subclasses import FakeTensorMode

from tinyvim_mm.ops import (
    CROSS_SCAN,
    ScanPath,
    position_table,
    scan_skipping,
    selective_scan,
    ss2d,
)

EVERY = [subject for subject in ALL if subject.device == 'cpu']
FORWARDS = (ScanPath(),)


def named_ss2d(**sizes):
    arguments = ss2d_arguments(3, 4, **{'d': 4, 'R': 2, 'N': 3, **sizes})
    return dict(zip(('x', *WEIGHTS), arguments, strict=True))


# ----------------------------------------------------------------------------
# Tensors without values
# ----------------------------------------------------------------------------


@pytest.mark.parametrize('backend', [None, 'parallel', 'reference', 'exportable'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize('order', ['paths', 'table', 'table on meta'])
def test_meta_tensors_have_shapes_only(backend, dtype, order):
    arguments = [t.to('meta', dtype).requires_grad_() for t in named_ss2d().values()]
    paths = CROSS_SCAN
    if order != 'paths':
        paths = position_table(CROSS_SCAN, 3, 4, 'meta' if 'meta' in order else None)
    paths = paths if order == 'paths' else paths.to('meta')
    y = ss2d(*arguments, paths, backend=backend)
    assert (y.device.type, y.shape, y.dtype) == ('meta', (2, 4, 3, 4), dtype)
    for argument, gradient in zip(arguments, torch.autograd.grad(y.sum(), arguments), strict=True):
        assert (gradient.device.type, gradient.shape) == ('meta', argument.shape)


@pytest.mark.parametrize('backend', [None, 'parallel', 'reference', 'exportable'])
def test_meta_sequences_have_shapes_only(backend):
    a = {n: t.to('meta').requires_grad_() for n, t in scan_arguments(5).items()}
    y, state = selective_scan(**a, return_last_state=True, delta_softplus=True, backend=backend)
    assert (y.device.type, y.shape, state.shape) == ('meta', (2, 4, 5), (2, 4, 8))
    gradients = torch.autograd.grad(y.sum() + state.sum(), list(a.values()))
    assert [g.shape for g in gradients] == [t.shape for t in a.values()]


@pytest.mark.parametrize('backend', [None, 'parallel', 'reference'])
def test_meta_maps_of_skip_sampled_grids(backend):
    arguments = [t.to('meta') for t in named_ss2d().values()]
    y = skipping(*arguments, backend=backend)
    assert (y.device.type, y.shape) == ('meta', (2, 4, 3, 4))


@pytest.mark.parametrize('backend', [None, *RUNNABLE])
def test_fake_tensors_have_the_layout_of_real_ones(backend):
    arguments = list(named_ss2d().values())
    real = ss2d(*arguments, backend=backend)
    with FakeTensorMode() as mode:
        fake = ss2d(*map(mode.from_tensor, arguments), backend=backend)
    assert (fake.shape, fake.dtype, fake.stride()) == (real.shape, real.dtype, real.stride())


# ----------------------------------------------------------------------------
# Tensors that are no plain arrays of real numbers
# ----------------------------------------------------------------------------


def rows_of(t):
    """What nested tensors are made of, which may be no single numbers."""
    return [row.reshape(row.shape or (1,)) for row in t]


STRANGERS = {
    'sparse': lambda t: t.to_sparse(),
    'sparse, of rows': lambda t: t.reshape(-1, t.shape[-1]).to_sparse_csr(),
    'mkldnn': lambda t: t.to_mkldnn(),
    'nested': lambda t: torch.nested.nested_tensor(rows_of(t)),
    'jagged': lambda t: torch.nested.nested_tensor(rows_of(t), layout=torch.jagged),
    'quantized': lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    'complex': lambda t: t.to(torch.complex64),
    'bool': lambda t: t > 0,
    'int8': lambda t: t.to(torch.int8),
    'an array of NumPy': lambda t: t.numpy(),
    'a list': lambda t: t.tolist(),
    'None': lambda t: None,
}
every_stranger = pytest.mark.parametrize('make', STRANGERS.values(), ids=STRANGERS)
every_backend = pytest.mark.parametrize('backend', [None, *RUNNABLE])


def refused(function, argument, arguments, **options):
    """The function refuses an argument in one sentence that names it."""
    with pytest.raises((TypeError, ValueError)) as caught:
        function(**arguments, **options)
    message = str(caught.value)
    assert function.__name__ in message
    assert argument in message, message
    assert len(message) < 300
    assert '\n' not in message


@every_stranger
@pytest.mark.parametrize('argument', ['x', *WEIGHTS])
@every_backend
def test_ss2d_refuses_strangers_by_name(argument, make, backend):
    arguments = named_ss2d()
    arguments[argument] = make(arguments[argument])
    refused(ss2d, argument, arguments, backend=backend)


@every_stranger
@pytest.mark.parametrize('argument', ['u', 'delta', 'A', 'B', 'C', 'D', 'z', 'delta_bias'])
@every_backend
def test_selective_scan_refuses_strangers_by_name(argument, make, backend):
    arguments = scan_arguments(5)
    arguments[argument] = make(arguments[argument])
    if arguments[argument] is None and argument in ('D', 'z', 'delta_bias'):
        selective_scan(**arguments, backend=backend)
    else:
        refused(selective_scan, argument.removeprefix('delta_'), arguments, backend=backend)


@every_stranger
def test_skip_sampled_grids_refuse_strange_maps(make):
    x, *weights = named_ss2d().values()
    with pytest.raises((TypeError, ValueError), match=r'\bx\b') as caught:
        scan_skipping(ss2d, make(x), *weights)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    'paths',
    [
        position_table(CROSS_SCAN, 3, 4).to_sparse(),
        position_table(CROSS_SCAN, 3, 4).float().to_sparse_csr(),
        position_table(CROSS_SCAN, 3, 4).float().to_mkldnn(),
        position_table(CROSS_SCAN, 3, 4).to(torch.complex64),
        torch.nested.nested_tensor(list(position_table(CROSS_SCAN, 3, 4).float())),
        torch.quantize_per_tensor(torch.zeros(4, 12), 0.1, 0, torch.qint8),
        position_table(CROSS_SCAN, 3, 4).tolist(),
        position_table(CROSS_SCAN, 3, 4).numpy(),
        'rows',
        3,
        None,
    ],
    ids=['sparse', 'csr', 'mkldnn', 'complex', 'nested', 'quantized', 'list', 'numpy', 'str',
         'int', 'None'],
)  # fmt: skip
@every_backend
def test_ss2d_refuses_strange_orders_by_name(paths, backend):
    refused(ss2d, 'paths', {**named_ss2d(), 'paths': paths}, backend=backend)


@pytest.mark.parametrize('paths', [[], (), torch.empty(0, 12, dtype=torch.long)], ids=str)
@pytest.mark.parametrize('batch', [2, 0])
@over(EVERY)
def test_no_path_at_all_is_refused(subject, paths, batch):
    for arguments in (named_ss2d(batch=batch), named_ss2d(batch=batch, K=0)):
        refused(ss2d, 'paths', {**arguments, 'paths': paths}, backend=subject.backend)


@every_backend
def test_a_generator_of_paths_is_paths_or_refused(backend):
    arguments = named_ss2d()
    try:
        y = ss2d(**arguments, paths=(path for path in CROSS_SCAN), backend=backend)
    except TypeError as error:
        message = str(error)
        assert 'paths' in message
    else:
        assert torch.equal(y, ss2d(**arguments, backend=backend))


# ----------------------------------------------------------------------------
# Tensors that are real numbers, but not laid out plainly
# ----------------------------------------------------------------------------


def _with_lazy_sign(t):
    return torch._neg_view(-t)


def _of_complex_numbers(t):
    return torch.complex(torch.zeros_like(t), -t).conj().imag  # lazily negative, strided


def _in_reverse_memory(t):
    return t.permute(*reversed(range(t.dim()))).contiguous().permute(*reversed(range(t.dim())))


def _with_gaps(t):
    wide = t.new_full([2 * n + 1 for n in t.shape], float('nan'))
    return wide[(slice(1, None, 2),) * t.dim()].copy_(t)


def _of_zeros(t):
    return torch._efficientzerotensor(t.shape)


def _of_one_number(t):
    return torch.full((1,) * t.dim(), 0.5).expand(t.shape)


LAYOUTS = [
    _with_lazy_sign, _of_complex_numbers, _in_reverse_memory, _with_gaps, _of_zeros, _of_one_number
]  # fmt: skip


@pytest.mark.parametrize('change', LAYOUTS)
@pytest.mark.parametrize('function', ['paths', 'table', 'sequence'])
@over([s for s in EVERY if s.work is None])
def test_odd_layouts_change_nothing(subject, function, change):
    if function == 'sequence':
        arguments = list(scan_arguments(5).values())
        run = functools.partial(selective_scan, delta_softplus=True)
    else:
        arguments = list(named_ss2d().values())
        table = position_table(CROSS_SCAN, 3, 4).flip(1)
        run = functools.partial(ss2d, paths=CROSS_SCAN if function == 'paths' else table)
    for i in range(len(arguments)):
        values = [*arguments]
        values[i] = change(values[i])
        assert values[i].shape == arguments[i].shape
        plain = [v + 0.0 for v in values]
        y = run(*values, backend=subject.backend)
        golden.assert_close('y', y, run(*plain, backend=subject.backend), 1e-6)
    y = run(*map(change, arguments), backend=subject.backend)
    plain = [change(a) + 0.0 for a in arguments]
    golden.assert_close('y', y, run(*plain, backend=subject.backend), 1e-6)


def _lazily_negative(y):
    return y, torch._neg_view(torch.ones_like(y))


def _expanded(y):
    return y, torch.ones(()).expand_as(y)


def _zero(y):
    return y, torch._efficientzerotensor(y.shape)


@pytest.mark.parametrize('cotangent', [_lazily_negative, _expanded, _zero])
@over([s for s in EVERY if s.work is None])
def test_odd_cotangents_change_nothing(subject, cotangent):
    leaves = [a.requires_grad_() for a in named_ss2d().values()]
    y, grad_y = cotangent(ss2d(*leaves, backend=subject.backend))
    got = torch.autograd.grad(y, leaves, grad_y, retain_graph=True)
    wanted = torch.autograd.grad(y, leaves, (grad_y + 0.0).contiguous())
    for one, other in zip(got, wanted, strict=True):
        golden.assert_close('gradient', one, other, 1e-6)


@pytest.mark.parametrize('K', [1, 3, 8, 9, 17, 40])
@over([s for s in EVERY if s.work is None])
def test_any_number_of_paths(subject, K):
    paths = [CROSS_SCAN[k % 4] for k in range(K)]
    x, *weights = ss2d_arguments(2, 3, d=3, R=1, N=2, K=K)
    expected = ss2d(x.double(), *(w.double() for w in weights), paths, backend='reference')
    y = ss2d(x, *weights, paths, backend=subject.backend)
    golden.assert_close('y', y, expected, 1e-5)


# ----------------------------------------------------------------------------
# Sizes of zero
# ----------------------------------------------------------------------------


@pytest.mark.parametrize('order', ['paths', 'table'])
@over(EVERY)
def test_steps_of_rank_zero_are_the_bias(subject, order):
    small = subject.work is not None
    height, width, K, batch = (1, 3, 1, 1) if small else (3, 4, 4, 2)
    arguments = ss2d_arguments(height, width, R=1, N=3, d=4, K=K, batch=batch)
    x, x_proj, dt_projs, bias, A_logs, Ds = arguments
    paths = CROSS_SCAN[:K]
    if order == 'table':
        paths = position_table(paths, height, width)
    wanted = [x, x_proj, torch.zeros_like(dt_projs), bias, A_logs, Ds]
    given = [x, x_proj[:, 1:].contiguous(), dt_projs[:, :, :0], bias, A_logs, Ds]
    results = []
    for values, backend, dtype in (
        (given, subject.backend, torch.float32),
        (wanted, 'reference', torch.float64),
    ):
        leaves = [v.detach().to(dtype).requires_grad_() for v in values]
        y = ss2d(*leaves, paths, backend=backend)
        gradients = torch.autograd.grad(y.square().sum(), leaves)
        results.append([y, *gradients])
    results[1][2], results[1][3] = results[1][2][:, 1:], results[1][3][:, :, :0]
    for i, (got, expected) in enumerate(zip(*results, strict=True)):
        golden.assert_close(f'result {i}', got, expected, 1e-5)


EMPTY_MAPS = {
    'no map': {'batch': 0},
    'no rows': {'height': 0},
    'no columns': {'width': 0},
    'no positions': {'height': 0, 'width': 0},
    'no channels': {'d': 0},
    'no maps of no channels': {'batch': 0, 'd': 0},
    'no maps, no rank': {'batch': 0, 'R': 0},
    'nothing but states': {'batch': 0, 'height': 0, 'width': 0, 'd': 0, 'R': 0},
}


@pytest.mark.parametrize('function', ['paths', 'table', 'skipping'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('sizes', EMPTY_MAPS.values(), ids=EMPTY_MAPS)
@over(EVERY)
def test_empty_maps_have_results_and_gradients_of_zeros(subject, sizes, dtype, function):
    sizes = {'height': 3, 'width': 4, 'd': 3, 'R': 2, 'N': 2, **sizes}
    height, width = sizes.pop('height'), sizes.pop('width')
    arguments = ss2d_arguments(height, width, **sizes)
    leaves = [a.to(dtype).requires_grad_() for a in arguments]
    if function == 'skipping':
        y = skipping(*leaves, backend=subject.backend)
    else:
        table = position_table(CROSS_SCAN, height, width)
        paths = CROSS_SCAN if function == 'paths' else table
        y = ss2d(*leaves, paths, backend=subject.backend)
    assert (y.shape, y.dtype) == (arguments[0].shape, dtype)
    _gradients_are_zeros(y, leaves)


def _gradients_are_zeros(y, leaves):
    y.sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert (leaf.grad.shape, leaf.grad.dtype) == (leaf.shape, leaf.dtype)
        assert leaf.grad.count_nonzero() == 0


NO_STATES = 'N must be at least 1, got'


@pytest.mark.parametrize('sizes', [{}, {'batch': 0}, {'d': 0}, {'R': 0}], ids=str)
@pytest.mark.parametrize('order', ['paths', 'table'])
@over(EVERY)
def test_maps_without_states_are_refused(subject, order, sizes):
    arguments = ss2d_arguments(3, 2, **{'d': 3, 'R': 2, 'N': 0, **sizes})
    paths = CROSS_SCAN if order == 'paths' else position_table(CROSS_SCAN, 3, 2)
    with pytest.raises(ValueError, match=f'^ss2d: {NO_STATES}'):
        ss2d(*arguments, paths, backend=subject.backend)


@pytest.mark.parametrize('sizes', [{}, {'batch': 0}, {'length': 0}, {'dim': 0}], ids=str)
@over(EVERY)
def test_sequences_without_states_are_refused(subject, sizes):
    arguments = scan_arguments(**{'length': 3, 'N': 0, **sizes})
    with pytest.raises(ValueError, match=f'^selective_scan: {NO_STATES}'):
        selective_scan(**arguments, backend=subject.backend)


EMPTY_SEQUENCES = {
    'no sequence': {'batch': 0},
    'no positions': {'length': 0},
    'no channels': {'dim': 0},
    'neither': {'batch': 0, 'length': 0, 'dim': 0},
}


@pytest.mark.parametrize('options', [True, False])
@pytest.mark.parametrize('with_state', [True, False])
@pytest.mark.parametrize('sizes', EMPTY_SEQUENCES.values(), ids=EMPTY_SEQUENCES)
@over(EVERY)
def test_empty_sequences_have_results_and_gradients_of_zeros(subject, sizes, with_state, options):
    sizes = {'length': 5, 'dim': 4, 'N': 3, 'groups': 2, **sizes}
    a = scan_arguments(**sizes)
    if not options:
        del a['D'], a['z'], a['delta_bias']
    leaves = {name: value.requires_grad_() for name, value in a.items()}
    y = selective_scan(
        **leaves, delta_softplus=True, return_last_state=with_state, backend=subject.backend
    )
    if with_state:
        y, state = y
        assert state.shape == (*a['u'].shape[:2], sizes['N'])
        assert state.count_nonzero() == 0
        total = y.sum() + state.sum()
    else:
        total = y.sum()
    assert y.shape == a['u'].shape
    _gradients_are_zeros(total, list(leaves.values()))


@over(EVERY)
def test_no_groups_are_refused(subject):
    a = scan_arguments(3, N=2, dim=4)
    for name in ('B', 'C'):
        refused(selective_scan, name, {**a, name: a[name][:, :0]}, backend=subject.backend)


# ----------------------------------------------------------------------------
# The operators themselves, called by their names
# ----------------------------------------------------------------------------

OPERATORS = [Subject('cpu'), Subject('emulation'), Subject('triton', work=12)]
#: Of the child, long enough to compile the emulation.
SECONDS = 900

ERRORS = ('TypeError', 'ValueError', 'RuntimeError', 'NotImplementedError')


@functools.cache
def refusals(backend):
    """How the operators of a backend took each nonsense, by one process for all."""
    return children.outcomes('scan_operator.py', scan_operator.everything(), SECONDS, backend)


@needs_library
@pytest.mark.parametrize('operator', ['scan', 'scan_backward'])
@over(OPERATORS)
def test_the_operators_refuse_nonsense(subject, operator):
    found = {
        item: outcome
        for item, outcome in refusals(subject.backend).items()
        if item.startswith(f'{operator}: ') and not is_refusal(item, outcome)
    }
    assert not found, '\n'.join(f'{item}: {outcome}' for item, outcome in found.items())


def is_refusal(item, outcome):
    """Whether an operator took nonsense as it should."""
    if outcome == 'accepted':
        return item.endswith(' on meta')  # without values nothing goes wrong
    kind, _, message = outcome.partition(': ')
    return kind in ERRORS and (len(message) < 400 or scan_operator.is_of_torch(message))


DIRECT = [
    {},
    {'R': None},
    {'R': 0},
    {'shared': False},
    {'shared': False, 'R': None, 'softplus': False, 'options': False},
    {'order': 'positions'},
    {'order': 'forwards', 'options': False},
    {'height': 5, 'width': 7, 'N': 8, 'd': 35},
    {'N': 20, 'd': 3, 'R': 9},
    {'K': 1},
    {'K': 11, 'order': 'positions', 'shared': False},
    {'dtype': torch.bfloat16},
    {'dtype': torch.float16, 'R': None},
]


@needs_library
@pytest.mark.parametrize('sizes', DIRECT, ids=str)
@over(OPERATORS)
def test_the_operators_compute_what_they_say(subject, sizes):
    if subject.work is not None:
        sizes = {**sizes, 'height': 1, 'width': 2, 'batch': 1, 'K': min(sizes.get('K', 2), 2)}
    check_operators(scan_operator.load(subject.backend), scan_operator.arguments(**sizes))


def check_operators(namespace, a):
    limit = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}[a['x'].dtype]
    # The cause of steps of a lower precision shall not be the operator.
    if a['step_weight'] is None:
        a['step'] = a['step'].to(a['x'].dtype)
    batch, K = a['step'].shape[:2]
    state_shape = (batch, K, *a['A'].shape[1:])
    truth = scan_operator.truth(a)
    y, state, checkpoints = scan_operator.forward(namespace, a)
    assert y.dtype == a['x'].dtype
    assert y.is_contiguous()
    assert state.dtype == checkpoints.dtype == torch.float32
    for name, got, expected in zip(
        ('y', 'state', 'checkpoints'), (y, state, checkpoints), truth, strict=True
    ):
        golden.assert_close(name, got, expected, limit)
    others = scan_operator.forward(namespace, a, False, False)
    assert torch.equal(others[0], y)
    assert [other.shape for other in others[1:]] == [(0,), (0,)]

    grad_y = torch.randn(y.shape).to(y)
    for grad_state, kept in itertools.product(
        (None, torch.randn(state_shape)), (None, checkpoints)
    ):
        given = {**a, 'grad_y': grad_y, 'grad_last_state': grad_state, 'checkpoints': kept}
        actual = scan_operator.backward(namespace, given)
        expected = scan_operator.true_gradients(a, grad_y, grad_state)
        for name, got, true in zip(scan_operator.GRADIENTS, actual, expected, strict=True):
            golden.assert_close(f'gradient of {name}', got, true, limit)
            assert got.is_contiguous()
            assert got.dtype == (a['x'].dtype if name == 'x' else torch.float32)


@needs_library
@pytest.mark.parametrize('shared', [True, False])
@pytest.mark.parametrize('R', [2, 0, None])
@pytest.mark.parametrize(
    'sizes', [{'batch': 0}, {'height': 0}, {'width': 0}, {'d': 0}, {'batch': 0, 'd': 0}], ids=str
)
@pytest.mark.parametrize('order', ['paths', 'positions', 'forwards'])
@over(OPERATORS)
def test_the_operators_give_zeros_for_sizes_of_zero(subject, order, sizes, R, shared):
    namespace = scan_operator.load(subject.backend)
    small = {'height': 1, 'width': 2, 'K': 1} if subject.work else {}
    a = scan_operator.arguments(**{**small, **sizes}, R=R, order=order, shared=shared)
    batch, K, length, d, N = *a['step'].shape[:3], a['x'].shape[-1], a['A'].shape[1]
    y, state, checkpoints = scan_operator.forward(namespace, a)
    assert y.shape == a['x'].shape
    assert state.shape == (batch, K, N, d)
    assert checkpoints.shape == (batch, K, -(-length // scan_operator.CHECKPOINT), N, d)
    gradients = scan_operator.backward(namespace, scan_operator.for_backward(a))
    shapes = [a['x'].shape, (K, batch, length, d), a['B'].shape, a['C'].shape, (K, N, d), (K, d)]
    assert [g.shape for g in gradients] == [*shapes, (K, d)]
    assert all(t.count_nonzero() == 0 for t in (y, state, *gradients))


@needs_library
@pytest.mark.parametrize('sizes', [{'K': 0}, {'N': 0}, {'K': 0, 'batch': 0}], ids=str)
@over(OPERATORS)
def test_the_operators_refuse_to_have_no_path_or_state(subject, sizes):
    namespace = scan_operator.load(subject.backend)
    a = scan_operator.arguments(**sizes)
    for call in (scan_operator.forward, scan_operator.backward):
        with pytest.raises((RuntimeError, ValueError), match=r'A must hold a path and a state'):
            call(namespace, scan_operator.for_backward(a))
