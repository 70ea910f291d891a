"""The device to compute on."""

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
