"""Whether the program is being traced rather than run."""

import torch
from torch.autograd import forward_ad


def is_compiling() -> bool:
    """Whether ``torch.compile`` or ``torch.export`` traces; torch 2.1 cannot tell."""
    return bool(getattr(torch.compiler, 'is_compiling', lambda: False)())


def is_traced() -> bool:
    """Whether anything traces: these two, ``torch.jit.trace`` or the export to ONNX."""
    return torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or is_compiling()


def is_transformed() -> bool:
    """Whether a transform of ``torch.func`` or forward-mode differentiation is at work."""
    if is_compiling():  # those see through kernels by themselves
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
