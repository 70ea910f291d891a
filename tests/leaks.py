"""LeakSanitizer's look at what calls of the compiled operator leave behind.

``tools/test_asan.sh`` runs this with the sanitizers loaded and with Python's own
allocator switched off, in whose memory LeakSanitizer would not find pointers.
"""

import ctypes
import os

# Nothing that imports and first calls allocate counts; they last as long as the process.
SANITIZER = ctypes.PyDLL(None)
SANITIZER.__lsan_disable()

import torch  # noqa: E402
from scan_cases import scan_arguments, ss2d_arguments  # noqa: E402

from tinyvim_mm.ops import selective_scan, ss2d  # noqa: E402

CALLS = 200


def call():
    """Result and gradients of each operator."""
    for operator, arguments in (
        (ss2d, ss2d_arguments(5, 5, d=16)),
        (selective_scan, scan_arguments(30).values()),
    ):
        leaves = [a.requires_grad_() for a in arguments]
        operator(*leaves, backend='cpu').sum().backward()


def leaks_of(function):
    """Whether memory that a function allocated cannot be reached after it."""
    SANITIZER.__lsan_enable()
    function()
    SANITIZER.__lsan_disable()
    return bool(SANITIZER.__lsan_do_recoverable_leak_check())


def call_often():
    for _ in range(CALLS):
        call()


torch.manual_seed(0)
call()
found = leaks_of(call_often)
# Without a leak that is there, a sanitizer that sees none would prove nothing.
noticed = leaks_of(lambda: SANITIZER.malloc(12345))
print(f'LeakSanitizer: {"leaks" if found else "no leak"} in {CALLS} calls of each operator', end='')
print('' if noticed else ', but it does not find one that is there')
# Past the check at exit, which would list what Python keeps.
os._exit(int(found or not noticed))
