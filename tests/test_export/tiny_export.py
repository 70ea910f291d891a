"""Networks small enough to export in a test, with statistics that are not trivial."""

import torch
from torch import nn

from tinyvim_mm.export.networks import ExportedNetwork
from tinyvim_mm.models import DistillationClassifier, TinyViM

ARCH = dict(embed_dims=(8, 8, 16, 24), depths=(1, 1, 2, 1))


class TinyClassifier(nn.Module):
    """What of an mmpretrain classifier is exported."""

    def __init__(self):
        super().__init__()
        self.backbone = TinyViM(arch=ARCH, out_indices=(3,), normalize_outputs=False)
        self.head = DistillationClassifier(24, num_classes=7)


def randomize(model):
    """Fill every parameter and statistic with values that make each of them count."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith('running_var'):
                tensor.uniform_(0.5, 2, generator=generator)
            elif tensor.dim() == 1 and tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
            elif name.endswith('weight'):
                fan_in = tensor[0].numel()
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / fan_in**0.5)
    return model.eval().requires_grad_(False)


def backbone():
    return ExportedNetwork(randomize(TinyViM(arch=ARCH)), 'backbone', 'features').eval()


def classifier(output='logits'):
    return ExportedNetwork(randomize(TinyClassifier()), 'classifier', output).eval()
