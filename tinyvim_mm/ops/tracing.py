"""Whether the program is being traced rather than run."""

import torch


def is_compiling() -> bool:
    """Whether ``torch.compile`` or ``torch.export`` traces; torch 2.1 cannot tell."""
    return bool(getattr(torch.compiler, 'is_compiling', lambda: False)())
