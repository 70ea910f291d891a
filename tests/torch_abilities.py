"""What older versions of torch cannot do, as reasons to skip a test."""

import pytest
import torch

needs_tracing = pytest.mark.skipif(
    not hasattr(torch.library, 'register_autograd'),
    reason='torch before 2.4 cannot trace the operators',
)
needs_export = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split('.')[:2])) < (2, 5),
    reason='torch before 2.5 cannot export a region of autocast',
)
needs_opcheck = pytest.mark.skipif(
    not hasattr(torch.library, 'opcheck'), reason='this torch is too old for torch.library.opcheck'
)
needs_safe_types = pytest.mark.skipif(
    not hasattr(torch.serialization, 'add_safe_globals'),
    reason='torch before 2.4 cannot be told which types beside tensors are safe to load',
)


def _has_half() -> bool:
    try:
        with torch.autocast('cpu', torch.float16):
            torch.nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 2, 2))
    except RuntimeError:
        return False
    return True


needs_half = pytest.mark.skipif(
    not _has_half(), reason='this torch has no float16 arithmetic on a CPU'
)
