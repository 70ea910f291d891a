"""Functions to differentiate on every backend, and how a kernel may refuse to."""

import contextlib

import golden
import pytest
import torch
from scan_cases import (
    ALL,
    SCAN_TENSORS,
    Subject,
    scan_arguments,
    skipping,
    ss2d_arguments,
)

from tinyvim_mm.ops import (
    BackendUnavailableError,
    ScanPath,
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


def along_paths(*arguments, backend):
    return ss2d(*arguments, PATHS[: len(arguments[1])], backend=backend)


def along_a_table(*arguments, backend):
    paths = PATHS[: len(arguments[1])]
    table = position_table(paths, *arguments[0].shape[2:])
    return ss2d(*arguments, table.flip(1), backend=backend)


def sequence(*arguments, backend):
    y, state = selective_scan(
        *arguments[:6],
        delta_bias=arguments[6],
        delta_softplus=True,
        return_last_state=True,
        backend=backend,
    )
    return torch.cat([y.flatten(), state.flatten()])


FUNCTIONS = {'paths': along_paths, 'table': along_a_table, 'sequence': sequence}
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
