"""What every backend has to compute: one suite for all of them.

The truth is the sequential form in float64. Each backend goes through the cases that
its speed allows: Triton's interpreter through the small ones, most of them in `make
test-all` only.
"""

from functools import partial

import golden
import pytest
import torch
import torch.nn.functional as F
from scan_cases import (
    ALL,
    BOTH,
    SCAN_TENSORS,
    SUBJECTS,
    WEIGHTS,
    Case,
    Subject,
    emulated,
    over,
    scan_arguments,
    scan_case,
    skipping,
    ss2d_arguments,
    ss2d_case,
)

from tinyvim_mm.ops import (
    BIDIRECTIONAL,
    CROSS_SCAN,
    ScanPath,
    position_table,
    selective_scan,
    ss2d,
)
from tinyvim_mm.ops.backends import BACKENDS

PLAIN = SCAN_TENSORS[:5]
NAMES = tuple(scan_arguments(1))
MIXED = (torch.float16, torch.float32, torch.float32, torch.bfloat16, torch.float16)
HALVES = ((torch.bfloat16, 2e-2), (torch.float16, 3e-3))
FULL_SPEED = [subject for subject in ALL if subject.work is None]
# The stand-in computes as the reference does, which the comparisons show already.
SPECIAL = [subject for subject in ALL if subject.backend != 'mamba_ssm']


def test_every_backend_takes_part():
    assert {subject.backend for subject in ALL} == {*BACKENDS, 'emulation'}


def shuffled(K, length):
    """A table with an order of its own for each path."""
    generator = torch.Generator().manual_seed(2)
    return torch.stack([torch.randperm(length, generator=generator) for _ in range(K)])


def laid_out_oddly(x, *weights):
    batch, d, height, width = x.shape
    strided = torch.zeros(batch, d, 2 * height, 3 * width)[:, :, ::2, ::3].copy_(x)
    return strided, *(w.transpose(0, -1).contiguous().transpose(0, -1) for w in weights)


def with_large_steps(x, x_proj, dt_projs, dt_bias, A_logs, Ds):
    return x, 30 * x_proj, 30 * dt_projs, 30 * dt_bias, A_logs, Ds


# ----------------------------------------------------------------------------
# Results and gradients
# ----------------------------------------------------------------------------

SIZES = [(1, 1), (1, 9), (9, 1), (2, 3), (4, 6), (7, 7), (16, 16), (21, 13), (25, 42)]
SS2D = [
    *(ss2d_case(f'{h}x{w}', h, w, batch=1 if h * w < 25 else 2) for h, w in SIZES),
    *(ss2d_case(f'{h}x{w}, N=1', h, w, N=1) for h, w in SIZES[-4:]),
    *(ss2d_case(f'N={N}', 5, 4, N=N, batch=1) for N in (1, 3, 4, 16, 20, 64)),
    *(ss2d_case(f'7x7, N={N}', 7, 7, N=N) for N in (4, 16, 64)),
    *(ss2d_case(f'R={R}', 4, 5, R=R, batch=1) for R in (1, 4, 11, 24, 32, 33)),
    *(ss2d_case(f'd={d}', 3, 4, d=d) for d in (1, 31, 32, 33, 35, 70)),
    *(
        ss2d_case(f'd={d}, R={R}', 7, 7, d=d, R=R)
        for d, R in ((1, 1), (33, 4), (96, 12), (288, 24), (384, 32), (70, 40))
    ),
    ss2d_case('several tiles and samples', 2, 3, d=35),
    ss2d_case('bidirectional', 4, 6, paths=BIDIRECTIONAL),
    ss2d_case('bidirectional, 2x3', 2, 3, paths=BIDIRECTIONAL, batch=1),
    ss2d_case('columns backwards', 3, 4, paths=(ScanPath(True, True),), batch=1),
    ss2d_case('three paths', 3, 4, paths=CROSS_SCAN[1:], batch=1),
    ss2d_case('any strides', 3, 5, N=4, change=laid_out_oddly),
    ss2d_case('large steps', 9, 9, change=with_large_steps, gradient_limit=2e-5),
    *(ss2d_case(f'{t}', 7, 7, types=(t, t), limit=limit) for t, limit in HALVES),
    *(ss2d_case(f'1x3, {t}', 1, 3, types=(t, t), limit=limit, batch=1) for t, limit in HALVES),
    ss2d_case('mixed types', 3, 5, types=(torch.bfloat16, torch.float32), limit=2e-2, batch=1),
    *(
        ss2d_case(f'{h}x{w}, float64', h, w, d=6, N=3, types=2 * BOTH[1:], limit=1e-10)
        for h, w in ((1, 1), (1, 2), (2, 3), (7, 7), (5, 9), (12, 17))
    ),
    ss2d_case('table', 5, 4, paths=shuffled(4, 20)),
    ss2d_case('table, 25x42', 25, 42, paths=shuffled(2, 1050)),
    ss2d_case('table, one path', 2, 3, paths=shuffled(1, 6), batch=1),
    ss2d_case('table, int32', 3, 4, paths=shuffled(3, 12).int(), batch=1),
    ss2d_case('table, half', 3, 4, paths=shuffled(4, 12), types=(torch.half,) * 2, limit=3e-3),
]


@over(SUBJECTS, SS2D)
def test_ss2d(subject, case):
    case.check(subject)


SCANS = [
    *(scan_case(f'length-{n}', n) for n in (1, 2, 31, 32, 33, 49, 65, 130, 256, 1050, 2049)),
    # Several segments of the backward, also in Triton's interpreter.
    *(scan_case(f'segments-{n}', n, N=4, dim=2, groups=1, batch=1) for n in (65, 130)),
    *(scan_case(f'N={N}', 9, N=N, dim=7, groups=1, batch=1) for N in (1, 3, 4, 8, 16, 64)),
    *(scan_case(f'L=33, N={N}', 33, N=N, dim=7, groups=1) for N in (1, 4, 8, 16, 64)),
    *(
        scan_case(f'{dim} channels in {groups} groups', 5, dim=dim, groups=groups)
        for dim, groups in ((35, 1), (18, 2), (3, 3))
    ),
    scan_case('70 channels, L=300', 300, dim=70),
    *(scan_case(f'{t}', 9, N=4, batch=1, types=(t,) * 8, limit=limit) for t, limit in HALVES),
    scan_case('mixed types', 9, N=4, batch=1, limit=2e-2, types=MIXED),
    scan_case('without options', 9, N=4, batch=1, tensors=PLAIN, softplus=False),
    scan_case('without softplus', 9, N=4, batch=1, softplus=False),
]


@over(SUBJECTS, SCANS)
def test_selective_scan(subject, case):
    case.check(subject)


SKIPPED = [
    ss2d_case(f'{h}x{w}', h, w, N=16, function=skipping, gradient_limit=5e-5)
    for h, w in ((1, 1), (2, 2), (4, 6), (5, 6), (4, 3), (7, 5), (28, 28), (25, 42))
]
SKIPPED = [
    *(Case(**{**vars(case), 'options': {}, 'work': case.work // 4}) for case in SKIPPED),
    ss2d_case('table', 5, 6, paths=shuffled(4, 9), function=skipping, gradient_limit=5e-5),
]


@over(SUBJECTS, SKIPPED)
def test_skip_sampled_grids(subject, case):
    case.check(subject)


#: (first row, first column, whether columns are read) of each grid.
GRIDS = ((0, 0, False), (1, 0, True), (0, 1, False), (1, 1, True))


def written_out(x, x_proj, dt_projs, dt_bias, A_logs, Ds):
    """Each grid as a sequence, by the one-dimensional scan."""
    batch, d, height, width = x.shape
    padded = x.new_zeros(batch, d, height + height % 2, width + width % 2)
    padded[:, :, :height, :width] = x
    result = torch.empty_like(padded)
    N, R = A_logs.shape[1], dt_projs.shape[2]
    for k, (row, column, columns_first) in enumerate(GRIDS):
        grid = padded[:, :, row::2, column::2]
        grid = grid.transpose(2, 3) if columns_first else grid
        u = grid.flatten(2)
        low, B, C = torch.einsum('cd,bdl->bcl', x_proj[k], u).split([R, N, N], dim=1)
        own = slice(k * d, (k + 1) * d)
        y = selective_scan(
            u,
            torch.einsum('dr,brl->bdl', dt_projs[k], low),
            -A_logs[own].exp(),
            B,
            C,
            Ds[own],
            delta_bias=dt_bias[k],
            delta_softplus=True,
            backend='reference',
        ).unflatten(2, grid.shape[2:])
        result[:, :, row::2, column::2] = y.transpose(2, 3) if columns_first else y
    return result[:, :, :height, :width]


@pytest.mark.parametrize('size', [(1, 1), (4, 6), (5, 6), (4, 3), (7, 5)])
def test_what_the_reference_skips(size):
    arguments = [a.requires_grad_() for a in ss2d_arguments(*size, N=16, dtype=torch.float64)]
    cotangent = torch.randn(arguments[0].shape, dtype=torch.float64)
    results = []
    for function in (partial(skipping, backend='reference'), written_out):
        y = function(*arguments)
        results.append([y, *torch.autograd.grad(y, arguments, cotangent)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)


GOLDEN = [
    Case(name, ss2d, None, work) for name, work in (('square', 20), ('wide', 90), ('long', 1000))
]


@over(ALL, GOLDEN)
def test_golden_operator(subject, case):
    data = golden.load('ss2d_op_golden')
    x, *weights = (data[f'{case.name}/{name}'].requires_grad_() for name in ('x', *WEIGHTS))
    y = subject.run(ss2d, x, *weights).permute(0, 2, 3, 1)
    y.backward(golden.golden_input(f'{case.name}-cot', y.shape))
    golden.assert_close('y', y, data[f'{case.name}/y'], golden.FEATURE_LIMIT)
    for name, tensor in zip(('x', *WEIGHTS), (x, *weights), strict=True):
        expected = data[f'{case.name}/grad_{name}']
        golden.assert_close(f'grad {name}', tensor.grad, expected, golden.GRADIENT_LIMIT)


# ----------------------------------------------------------------------------
# Orders
# ----------------------------------------------------------------------------

EACH_PATH = [
    ss2d_case(f'{path.code()}', h, w, paths=(path,), d=2, N=2, batch=1)
    for path in CROSS_SCAN
    for h, w in ((2, 3), (1, 5), (7, 4))
]


@over(SUBJECTS, EACH_PATH)
def test_a_code_means_what_the_table_says(subject, case):
    """Kernels know paths by their codes, tables are made by Python: one meaning."""
    arguments = case.truth[0]
    (path,) = case.options['paths']
    table = position_table((path,), *arguments[0].shape[2:])
    by_code = subject.run(ss2d, *arguments, paths=(path,))
    golden.assert_close('y', by_code, ss2d(*arguments, table, backend='reference'), 1e-5)


@over(FULL_SPEED)
def test_a_table_of_the_four_directions_equals_their_paths(subject):
    arguments = ss2d_arguments(5, 8)
    expected = subject.run(ss2d, *arguments)
    table = position_table(CROSS_SCAN, 5, 8)
    golden.assert_close('y', subject.run(ss2d, *arguments, paths=table), expected, 1e-6)


def test_the_default_paths_are_the_four_directions():
    arguments = ss2d_arguments(5, 4)
    assert torch.equal(ss2d(*arguments), ss2d(*arguments, paths=CROSS_SCAN))


# ----------------------------------------------------------------------------
# Options and other forms of the arguments
# ----------------------------------------------------------------------------


@over(SPECIAL)
def test_any_strides(subject):
    small = subject.work is not None
    x, *weights = ss2d_arguments(*((1, 2) if small else (6, 10)), d=4, batch=1 if small else 2)
    batch, d, height, width = x.shape
    expected = subject.run(ss2d, x, *weights)
    strided = torch.zeros(batch, d, 2 * height, 2 * width)[:, :, ::2, ::2].copy_(x)
    for other in (x.to(memory_format=torch.channels_last), strided):
        golden.assert_close('y', subject.run(ss2d, other, *weights), expected, 1e-6)


@over(SPECIAL)
def test_autocast_does_not_lower_the_precision(subject):
    small = subject.work is not None
    for function in (ss2d,) if small else (ss2d, skipping):
        arguments = ss2d_arguments(*((1, 3) if small else (7, 10)), batch=1)
        expected = subject.run(function, *arguments)
        for dtype in (torch.bfloat16, torch.float16):
            with torch.autocast(subject.device, dtype):
                actual = subject.run(function, *arguments)
            golden.assert_close('y', actual, expected, 1e-6)


LAST_STATES = [
    scan_case(f'L={n}', n, N=3, dim=6, groups=groups, batch=batch)
    for n, groups, batch in ((1, 3, 1), (33, 3, 2), (70, 1, 1), (300, 3, 2))
]


@pytest.mark.parametrize('softplus', [False, True])
@pytest.mark.parametrize('options', [True, False])
@over([s for s in SUBJECTS if s.backend != 'mamba_ssm'], LAST_STATES)
def test_last_state_and_its_gradient(subject, case, options, softplus):
    named = dict(zip(NAMES, case.make(), strict=True))
    del named['z']
    if not softplus:
        named['delta'], named['delta_bias'] = named['delta'].abs(), named['delta_bias'].abs()
    if not options:
        del named['D'], named['delta_bias']
    weights = torch.randn(named['u'].shape), torch.randn((*named['u'].shape[:2], 3))
    results = []
    for backend, device, dtype in (
        (subject.backend, subject.device, torch.float32),
        ('reference', 'cpu', torch.float64),
    ):
        leaves = {k: v.to(device, dtype).requires_grad_() for k, v in named.items()}
        y, state = selective_scan(
            **leaves, delta_softplus=softplus, return_last_state=True, backend=backend
        )
        of_y, of_state = ((t * w.to(t)).sum() for t, w in zip((y, state), weights, strict=True))
        gradients = partial(torch.autograd.grad, retain_graph=True, materialize_grads=True)
        alone = gradients(of_state, [leaves[name] for name in PLAIN[:4]], allow_unused=True)
        both = gradients(of_y + of_state, list(leaves.values()), allow_unused=True)
        results.append([t.cpu() for t in (y, state, *alone, *both)])
    for i, (got, expected) in enumerate(zip(*results, strict=True)):
        golden.assert_close(f'result {i}', got, expected, 1e-5)


def test_the_last_state_of_the_reference_continues_the_recurrence():
    a = scan_arguments(20, groups=1)
    _, state = selective_scan(**a, delta_softplus=True, return_last_state=True, backend='reference')
    dt = F.softplus(a['delta'] + a['delta_bias'][:, None])
    h = torch.zeros(2, 4, 8)
    for t in range(20):
        step = dt[:, :, t, None]
        h = (step * a['A']).exp() * h + step * a['B'][:, :, :, t] * a['u'][:, :, t, None]
    golden.assert_close('state', state, h, 1e-5)


@over(ALL)
def test_constant_and_ungrouped_coefficients(subject):
    length = 12 if subject.work is None else 4
    a = scan_arguments(length, groups=1)
    run = partial(subject.run, selective_scan, a['u'], a['delta'], a['A'])
    B, C = torch.randn(4, 8), torch.randn(4, 8)
    spread = [m[None, :, :, None].expand(2, 4, 8, length) for m in (B, C)]
    golden.assert_close('constant', run(B, C), run(*spread), 1e-6)
    assert torch.equal(run(a['B'][:, 0], a['C']), run(a['B'], a['C']))


def test_softplus_makes_steps_positive():
    u, B = torch.ones(1, 1, 1), torch.ones(1, 1, 1, 1)
    A, delta = torch.zeros(1, 1), torch.full((1, 1, 1), -3.0)
    y = selective_scan(u, delta, A, B, B, delta_softplus=True)
    assert y.item() == pytest.approx(F.softplus(torch.tensor(-3.0)).item())


@over(ALL)
def test_softplus_over_its_whole_range(subject):
    # One step from zero state: y = dt, and its gradient is the derivative.
    raw = torch.tensor([-80.0, -30.0, -15.0, -7.0, -1.0, 0.0, 3.0, 19.9, 20.1, 90.0])
    delta = raw.view(1, -1, 1).clone().requires_grad_()
    one, zeros = torch.ones(1, 1, 1, 1), torch.zeros(10, 1)
    y = subject.run(
        selective_scan, torch.ones(1, 10, 1), delta, zeros, one, one, delta_softplus=True
    )
    y.sum().backward()
    exact = raw.double().requires_grad_()
    expected = F.softplus(exact)
    expected.sum().backward()
    torch.testing.assert_close(y.flatten().double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(delta.grad.flatten().double(), exact.grad, rtol=1e-5, atol=0)


# ----------------------------------------------------------------------------
# Repetition, and values at the edges
# ----------------------------------------------------------------------------


@pytest.mark.parametrize('threads', [1, 2])
@over(SPECIAL)
def test_ten_runs_are_bit_identical(subject, threads):
    small = subject.work is not None
    shapes = [(1, 3, 9, 1)] if small else [(7, 11, 24, 2)]
    if subject.device == 'cuda':
        shapes = [(7, 7, 96, 2), (25, 42, 96, 2)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for height, width, d, batch in shapes:
            arguments = ss2d_arguments(height, width, d=d, batch=batch)
            leaves = [a.to(subject.device).requires_grad_() for a in arguments]
            runs = []
            for _ in range(2 if small else 10):
                y = ss2d(*leaves, backend=subject.backend)
                runs.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
            for run in runs[1:]:
                for first, later in zip(runs[0], run, strict=True):
                    assert torch.equal(first, later)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@over(SPECIAL)
def test_what_is_not_finite_passes_through_visibly(subject, value):
    height = 3 if subject.work is None else 1
    x, *weights = ss2d_arguments(height, height)
    x[0, 2, height // 2, height // 2] = value
    y = subject.run(ss2d, x, *weights)
    assert not y[0].isfinite().all()
    assert y[0].isnan().any() or value == float('inf')
    assert y[1].isfinite().all()


EXTREMES = [(A, delta) for A in (-1e-6, -1.0, -1e4) for delta in (-50.0, 0.0, 19.9, 20.1, 80.0)]


@over(SPECIAL)
def test_extreme_decays_and_steps(subject):
    for A, delta in EXTREMES if subject.work is None else EXTREMES[::7]:
        a = scan_arguments(6 if subject.work is None else 3, N=4, dim=2, groups=1)
        a['A'] = torch.full_like(a['A'], A)
        a['delta'] = torch.full_like(a['delta'], delta)
        a['delta_bias'] = torch.zeros_like(a['delta_bias'])
        y = subject.run(selective_scan, *a.values(), delta_softplus=True)
        truth = {name: tensor.double() for name, tensor in a.items()}
        expected = selective_scan(**truth, delta_softplus=True, backend='reference')
        assert y.isfinite().all()
        golden.assert_close(f'y for A = {A}, delta = {delta}', y, expected, 1e-5)


@over(ALL)
@pytest.mark.parametrize(('batch', 'height'), [(0, 4), (2, 0)])
def test_empty_maps_give_empty_results(batch, height, subject):
    arguments = ss2d_arguments(height, 5, batch=batch)
    assert subject.run(ss2d, *arguments).shape == (batch, 5, height, 5)


@over(ALL)
@pytest.mark.parametrize('shape', [(0, 4, 3), (2, 4, 0)])
def test_empty_sequences(shape, subject):
    batch, dim, length = shape
    a = scan_arguments(length, N=3, dim=dim, batch=batch)
    arguments = [t.requires_grad_() for t in a.values()]
    y, state = subject.run(selective_scan, *arguments, delta_softplus=True, return_last_state=True)
    assert y.shape == shape
    assert torch.equal(state, torch.zeros(batch, dim, 3))
    (y.sum() + state.sum()).backward()
    assert all(argument.grad.count_nonzero() == 0 for argument in arguments)


@over([s for s in ALL if torch.float64 in s.dtypes])
@pytest.mark.parametrize('paths', [CROSS_SCAN, shuffled(4, 6)], ids=['paths', 'table'])
def test_gradcheck(paths, subject):
    arguments = ss2d_arguments(2, 3, d=2, R=1, N=2, batch=1, dtype=torch.float64)
    leaves = [a.requires_grad_() for a in arguments]
    assert torch.autograd.gradcheck(lambda *a: ss2d(*a, paths, backend=subject.backend), leaves)


# ----------------------------------------------------------------------------
# The CUDA kernels choose by the size of the GPU whether they cut paths into chunks
# ----------------------------------------------------------------------------

LARGE_GPU = [
    *(
        ss2d_case(f'{h}x{w}', h, w, batch=1 if h > 8 else 2)
        for h, w in ((1, 1), (8, 12), (8, 13), (16, 16), (21, 13))
    ),
    *(scan_case(f'L=300, {softplus}', 300, dim=6, groups=3, softplus=softplus)
      for softplus in (False, True)),
]  # fmt: skip


@pytest.mark.parametrize('gpu', [(1, 48), (1000, 48), (132, 227), (40, 64)], ids=str)
@over([Subject('emulation')], LARGE_GPU)
def test_whole_paths_and_chunks(subject, case, gpu):
    # Paths are fused where they fit into shared memory, and cut where they are too few.
    emulated()
    multiprocessors, kilobytes = gpu
    torch.ops.tinyvim_mm_emulated.set_gpu(multiprocessors, kilobytes * 1024)
    try:
        case.check(subject)
    finally:
        torch.ops.tinyvim_mm_emulated.set_gpu(1, 48 * 1024)
