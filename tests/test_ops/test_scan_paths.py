import torch

from tinyvim_mm.ops import CROSS_SCAN
from tinyvim_mm.ops.scan_paths import cross_merge, cross_scan

PLANE = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_cross_scan_reads_rows_columns_and_their_reverses():
    sequences = cross_scan(PLANE.view(1, 1, 1, 2, 3), CROSS_SCAN)
    assert sequences.view(4, 6).tolist() == [
        [1, 2, 3, 4, 5, 6],
        [1, 4, 2, 5, 3, 6],
        [6, 5, 4, 3, 2, 1],
        [6, 3, 5, 2, 4, 1],
    ]


def test_each_path_may_read_a_map_of_its_own():
    maps = torch.arange(4.0).view(1, 4, 1, 1, 1) * 10 + PLANE
    sequences = cross_scan(maps, CROSS_SCAN)
    assert (sequences[0, :, 0] // 10).unique(dim=1).flatten().tolist() == [0, 1, 2, 3]


def test_cross_merge_puts_every_value_back_and_sums():
    sequences = cross_scan(PLANE.view(1, 1, 1, 2, 3), CROSS_SCAN)
    assert torch.equal(cross_merge(sequences, 2, 3, CROSS_SCAN)[0, 0], 4 * PLANE)
