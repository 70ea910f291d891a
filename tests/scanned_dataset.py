"""A dataset whose transform runs the scan; a module, so that spawned workers can import it."""

import torch
from torch.utils.data import Dataset

from tinyvim_mm.ops import selective_scan


class Scanned(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return scan(index)


def scan(seed):
    """Of random numbers, so many that several threads share the work."""
    generator = torch.Generator().manual_seed(seed)
    u, delta = torch.rand(2, 2, 64, 256, generator=generator)
    A = -torch.rand(64, 4, generator=generator)
    B, C = torch.rand(2, 2, 1, 4, 256, generator=generator)
    return selective_scan(u, delta, A, B, C)
