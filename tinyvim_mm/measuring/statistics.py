"""Random statistics for networks that have seen no data."""

import torch
from torch import nn


def randomize_statistics(model: nn.Module) -> nn.Module:
    """Give batch norms statistics that are not the identity's, whose folding proves nothing."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model
