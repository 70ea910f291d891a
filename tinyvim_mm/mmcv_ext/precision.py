"""The precision in which operators compute."""

import torch


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, or float64 if that is what it has.

    torchvision computes its operators in float32 under autocast, and has most of them for
    neither bfloat16 nor, on CPUs, float16.
    """
    return tensor if tensor.dtype == torch.float64 else tensor.float()
