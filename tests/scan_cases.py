"""Arguments for the scan, the backends to try with them, and the truth to compare with."""

import fcntl
import functools
import importlib.machinery
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional

import golden
import pytest
import torch

from tinyvim_mm.ops import CROSS_SCAN, available_backends, scan_skipping, selective_scan, ss2d
from tinyvim_mm.ops.backends import BACKENDS, Backend, kernel_backend, mamba_ssm, reference
from tinyvim_mm.ops.backends.obstacle import float64_obstacle
from tinyvim_mm.ops.backends.registration import SCHEMAS, register

#: What runs here at full speed, for tests that leave out the slow and the special ones.
RUNNABLE = [
    name for name in ('cpu', 'parallel', 'reference') if available_backends('cpu')[name] is None
]
WEIGHTS = ('x_proj_weight', 'dt_projs_weight', 'dt_projs_bias', 'A_logs', 'Ds')
SCAN_TENSORS = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')

needs_library = pytest.mark.skipif(
    available_backends('cpu')['cpu'] is not None,
    reason='the operators were not compiled; `python -m tinyvim_mm.ops` says why',
)


def scan_arguments(length, N=8, dim=4, groups=2, batch=2, dtype=torch.float32):
    return {
        'u': torch.randn(batch, dim, length, dtype=dtype),
        'delta': 0.5 * torch.randn(batch, dim, length, dtype=dtype),
        'A': -torch.rand(dim, N, dtype=dtype) * N - 0.1,
        'B': torch.randn(batch, groups, N, length, dtype=dtype),
        'C': torch.randn(batch, groups, N, length, dtype=dtype),
        'D': torch.randn(dim, dtype=dtype),
        'z': torch.randn(batch, dim, length, dtype=dtype),
        'delta_bias': torch.randn(dim, dtype=dtype),
    }


def ss2d_arguments(height, width, d=5, R=3, N=8, K=4, batch=2, dtype=torch.float32):
    return (
        torch.randn(batch, d, height, width, dtype=dtype),
        torch.randn(K, R + 2 * N, d, dtype=dtype) / d**0.5,
        torch.randn(K, d, R, dtype=dtype) / R**0.5,
        torch.randn(K, d, dtype=dtype) - 2,
        torch.rand(K * d, N, dtype=dtype),
        torch.randn(K * d, dtype=dtype),
    )


# -- backends ------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """A backend as the tests take it.

    Attributes:
        backend: Its name; 'emulation' runs the CUDA operators warp by warp on a CPU.
        device: Where its tensors are.
        work: Steps of the recurrence, times tiles of channels, that it takes in a test,
            and in one that is marked as slow. ``None`` sets no limit.
        dtypes: What it computes in.
        slow: Whether all of its tests are marked so.
    """

    backend: str
    device: str = 'cpu'
    work: Optional[int] = None
    slow_work: Optional[int] = None
    dtypes: tuple = (torch.float32,)
    slow: bool = False

    def __str__(self) -> str:
        return self.backend if self.device == 'cpu' else f'{self.backend}-gpu'

    @property
    def marks(self) -> list:
        gpu = [pytest.mark.gpu] if self.device == 'cuda' else []
        return [*gpu, pytest.mark.slow] if self.slow else gpu

    def run(self, function, *arguments, **options):
        """The function's result, on the CPU, from arguments that are there."""
        y = function(
            *(a.to(self.device) for a in arguments), backend=self.backend, **self.moved(options)
        )
        return tuple(t.cpu() for t in y) if isinstance(y, tuple) else y.cpu()

    def moved(self, options):
        return {
            key: value.to(self.device) if isinstance(value, torch.Tensor) else value
            for key, value in options.items()
        }


BOTH = (torch.float32, torch.float64)
REFERENCE = Subject('reference', dtypes=BOTH)
#: Every backend on each device on which it can run somewhere.
SUBJECTS = [
    Subject('cpu'),
    Subject('parallel', dtypes=BOTH),
    Subject('exportable', dtypes=BOTH),
    Subject('exportable_any_size', dtypes=BOTH),
    Subject('emulation'),
    Subject('mamba_ssm'),  # with a stand-in for the package
    # Its interpreter takes tens of milliseconds for a step.
    Subject('triton', work=12, slow_work=150),
    Subject('cuda', 'cuda'),
    Subject('triton', 'cuda'),
]
ALL = [REFERENCE, *SUBJECTS]


def over(subjects, cases=None):
    """Parametrise a test by ``subject``, and ``case`` if there are some."""
    if cases is None:
        values = [pytest.param(s, id=str(s), marks=s.marks) for s in subjects]
        return pytest.mark.parametrize('subject', values, indirect=True)
    values = []
    for case in cases:
        for subject in subjects:
            if case.only is not None and subject.backend not in case.only:
                continue
            if case.dtype not in subject.dtypes and case.dtype == torch.float64:
                continue
            marks = list(subject.marks)
            if subject.work is not None and case.work > subject.work:
                if case.work > subject.slow_work:
                    continue
                marks.append(pytest.mark.slow)
            values.append(pytest.param(subject, case, id=f'{case.name}-{subject}', marks=marks))
    return pytest.mark.parametrize(('subject', 'case'), values, indirect=['subject'])


def prepare(subject, monkeypatch):
    """Have a subject's backend in the table, or skip the test."""
    if subject.backend == 'emulation':
        backend = kernel_backend(
            'emulation', emulated(), lambda device, dtype: float64_obstacle(dtype)
        )
        monkeypatch.setitem(BACKENDS, 'emulation', backend)
    elif subject.backend == 'mamba_ssm':
        stand_in_for_mamba_ssm(monkeypatch)
    obstacle = BACKENDS[subject.backend].obstacle(torch.device(subject.device), torch.float32)
    if obstacle is not None:
        assert subject.device == 'cpu', obstacle  # tests of GPUs shall not pass without them
        pytest.skip(str(obstacle))


@functools.cache
def emulated():
    """The operators of tests/test_ops/emulation.cpp, compiled when its sources have changed."""
    from torch.utils import cpp_extension

    root = Path(__file__).resolve().parents[1]
    library = torch.library.Library('tinyvim_mm_emulated', 'DEF')
    for name, schema in SCHEMAS.items():
        library.define(name + schema)
    folder = root / '.cache' / 'emulation' / torch.__version__
    folder.mkdir(parents=True, exist_ok=True)
    # ninja comes with the environment, which need not be active.
    scripts = str(Path(sys.executable).parent)
    os.environ['PATH'] = scripts + os.pathsep + os.environ['PATH']
    with (folder / 'in_use').open('w') as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        # Left by a run that was killed: torch would wait for it for ever.
        (folder / 'lock').unlink(missing_ok=True)
        cpp_extension.load(
            'tinyvim_mm_emulated',
            [str(root / 'tests' / 'test_ops' / 'emulation.cpp')],
            extra_cflags=['-O1', '-g0', '-Wno-unknown-pragmas'],
            build_directory=str(folder),
            is_python_module=False,
        )
    emulated.library = library  # its end would take the operators away
    return register('tinyvim_mm_emulated')


def install(monkeypatch, *names, **attributes):
    """Put modules in the place of installed ones; the last one gets the attributes."""
    for name in names:
        module = ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    vars(module).update(attributes)


def stand_in_for_mamba_ssm(monkeypatch):
    """Install a module with mamba-ssm's signature and requirements; the list of its calls."""
    seen = []

    def selective_scan_fn(
        u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
        return_last_state=False,
    ):  # fmt: skip
        seen.append((u, delta, A, B, C, D, delta_bias, delta_softplus))
        assert z is None
        assert all(t is None or t.dtype == torch.float32 for t in seen[-1][:-1])
        assert B.dim() == C.dim() == 4
        y, state = reference.selective_scan(u, delta, A, B, C, D, delta_bias, delta_softplus)
        return (y, state) if return_last_state else y

    install(monkeypatch, 'selective_scan_cuda')
    names = ('mamba_ssm', 'mamba_ssm.ops', 'mamba_ssm.ops.selective_scan_interface')
    install(monkeypatch, *names, selective_scan_fn=selective_scan_fn)
    mamba_ssm._load.cache_clear()  # the fixture of the tests does so again
    monkeypatch.setitem(BACKENDS, 'mamba_ssm', Backend('mamba_ssm', None, mamba_ssm.selective_scan))
    return seen


def recurrence_arguments(function, *arguments):
    """What a function of :mod:`tinyvim_mm.ops.rows` gives to the recurrence of a kernel."""

    class SeenError(Exception):
        pass

    def recurrence(*seen):
        raise SeenError(*seen)

    with pytest.raises(SeenError) as error:
        function(recurrence, *arguments)
    return error.value.args


# -- comparison ----------------------------------------------------------------------


def result_and_gradients(function, arguments, backend, cotangent, **options):
    """The result and the gradients of all arguments, in the types that they have."""
    leaves = [a.detach().requires_grad_() for a in arguments]
    y = function(*leaves, backend=backend, **options)
    y.backward(cotangent.to(y))
    # Torch gives no gradient where an argument took no part, as decays over one step.
    grads = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    return y.detach(), grads


def double_reference(function, arguments, cotangent, **options):
    """Result and gradients of the sequential form in float64."""
    truth = [a.detach().double() for a in arguments]
    return result_and_gradients(function, truth, 'reference', cotangent, **options)


def skipping(*arguments, backend, **options):
    """:func:`scan_skipping` with the arguments of the operators."""
    return scan_skipping(functools.partial(ss2d, backend=backend), *arguments, **options)


@dataclass(frozen=True)
class Case:
    """Arguments on which backends are compared with the sequential form in float64.

    Attributes:
        name: What is special about it.
        function: :func:`ss2d`, :func:`selective_scan` or :func:`skipping`.
        make: Makes the arguments.
        work: Steps times tiles of channels.
        limit: Largest relative L2 error of the result.
        gradient_limit: And of each gradient; ``None`` is the same.
        options: Of the function.
        only: Backends for which it is, if not for all.
        dtype: Of the first argument.
    """

    name: str
    function: Callable
    make: Callable[[], List[torch.Tensor]]
    work: int
    limit: float = 1e-5
    gradient_limit: Optional[float] = None
    options: Dict[str, Any] = field(default_factory=dict)
    only: Optional[tuple] = None
    dtype: torch.dtype = torch.float32

    @functools.cached_property
    def truth(self):
        """Arguments, cotangent, result and gradients, computed once for all backends."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            arguments = list(self.make())
            cotangent = torch.randn(arguments[0].shape).to(arguments[0])
        expected = double_reference(self.function, arguments, cotangent, **self.options)
        return arguments, cotangent, *expected

    def check(self, subject):
        """Compare result and gradients."""
        arguments, cotangent, expected, truth = self.truth
        arguments = [a.to(subject.device) for a in arguments]
        options = subject.moved(self.options)
        y, gradients = result_and_gradients(
            self.function, arguments, subject.backend, cotangent.to(subject.device), **options
        )
        assert y.dtype == arguments[0].dtype
        golden.assert_close('y', y.cpu(), expected, self.limit)
        limit = self.limit if self.gradient_limit is None else self.gradient_limit
        for i, (gradient, other) in enumerate(zip(gradients, truth, strict=True)):
            golden.assert_close(f'gradient {i}', gradient.cpu(), other, limit)


def ss2d_case(name, height, width, *, d=5, K=4, batch=2, types=None, paths=CROSS_SCAN, change=None,
              function=ss2d, **others):  # fmt: skip
    """A :class:`Case` of SS2D; ``types`` are those of the map and the weights."""
    known = {k: others.pop(k) for k in ('limit', 'gradient_limit', 'only') if k in others}
    K = len(paths) if paths is not None else K
    x_type, weight_type = types or (torch.float32, torch.float32)

    def make():
        dtype = torch.float64 if x_type == torch.float64 else torch.float32
        x, *weights = ss2d_arguments(height, width, d=d, K=K, batch=batch, dtype=dtype, **others)
        if change is not None:
            x, *weights = change(x, *weights)
        return [x.to(x_type), *(w.to(weight_type) for w in weights)]

    work = batch * K * max(height * width, 4) * -(-d // 32)
    options = {'paths': paths}
    return Case(name, function, make, work, options=options, dtype=x_type, **known)


def scan_case(name, length, *, dim=4, groups=2, batch=2, tensors=None, types=None, softplus=True,
              **others):  # fmt: skip
    """A :class:`Case` of the 1-D scan; ``tensors`` names those that are given."""
    known = {k: others.pop(k) for k in ('limit', 'gradient_limit', 'only') if k in others}
    dtype = types[0] if types else torch.float32

    def make():
        a = scan_arguments(length, dim=dim, groups=groups, batch=batch, **others)
        if not softplus:
            a['delta'], a['delta_bias'] = a['delta'].abs(), a['delta_bias'].abs()
        values = [a[n] for n in tensors or a]
        for i, other in enumerate(types or ()):
            values[i] = values[i].to(other)
        return values

    work = batch * groups * max(length, 4) * -(-dim // groups // 32)
    options = {'delta_softplus': softplus}
    return Case(name, selective_scan, make, work, options=options, dtype=dtype, **known)
