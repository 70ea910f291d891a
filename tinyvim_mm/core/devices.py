"""The device to compute on."""

from functools import cache
from typing import Optional

from .errors import MachineError


def find_device(name: Optional[str] = None) -> str:
    """Name for torch of the device that the user wants, or of the one that mmengine finds.

    Raises:
        MachineError: There is no such device here.
    """
    import torch
    from mmengine.device import get_device

    try:
        device = torch.device(name or get_device())
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises both
        reason = str(error).splitlines()[0]
        raise MachineError(f'--device {name} is not usable here: {reason}') from error
    return str(device)


# As Linux calls them: of x86 the instructions on vectors and on tiles, and Arm's.
_BFLOAT16_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}


@cache
def computes_in_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16 that torch uses.

    Without them torch turns each operand to fp32 and back, slower than fp32 itself. Only Linux
    says which there are; elsewhere this is ``False``.
    """
    import torch

    if not torch.backends.mkldnn.is_available():
        return False
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as lines:
            flags = next((line for line in lines if line.startswith(('flags', 'Features'))), '')
    except OSError:
        return False
    return not _BFLOAT16_FLAGS.isdisjoint(flags.split())
