import pytest
import torch

from tinyvim_mm.ops import CROSS_SCAN, position_table
from tinyvim_mm.ops.scan_paths import cross_merge, cross_scan, time_table

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


@pytest.mark.parametrize('size', [(2, 3), (1, 4), (5, 5), (3, 1)])
def test_tables_read_and_put_back_as_paths_do(size):
    maps = torch.randn(2, 4, 3, *size)
    table = position_table(CROSS_SCAN, *size)
    sequences = cross_scan(maps, CROSS_SCAN)
    assert torch.equal(cross_scan(maps, table), sequences)
    merged = cross_merge(sequences, *size, CROSS_SCAN)
    assert torch.equal(cross_merge(sequences, *size, table), merged)
    times = time_table(CROSS_SCAN, *size)
    assert torch.equal(table.gather(1, times), torch.arange(size[0] * size[1]).expand(4, -1))


def test_the_table_of_the_four_directions():
    assert position_table(CROSS_SCAN, 2, 3).tolist() == [
        [0, 1, 2, 3, 4, 5],
        [0, 3, 1, 4, 2, 5],
        [5, 4, 3, 2, 1, 0],
        [5, 2, 4, 1, 3, 0],
    ]


def test_a_layer_takes_a_table_for_maps_of_one_size():
    SS2D = pytest.importorskip('tinyvim_mm.models.layers').SS2D
    layer = SS2D(6, paths=position_table(CROSS_SCAN, 4, 5))
    same = SS2D(6)
    same.load_state_dict(layer.state_dict())  # the table is no weight
    x = torch.randn(1, 6, 4, 5)
    torch.testing.assert_close(layer(x), same(x))
    with pytest.raises(ValueError, match=r'paths must have shape .* = 16\), got \(4, 20\)'):
        layer(torch.randn(1, 6, 4, 4))
