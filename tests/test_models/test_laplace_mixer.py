"""The paper's idea: what enters the scan, and what becomes of the rest."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinyvim_mm.models import LaplaceMixer


def bare_mixer(monkeypatch=None, **options):
    """A mixer whose projections and convolutions let everything through."""
    mixer = LaplaceMixer(8, **options).eval()
    for name in ('in_proj', 'laplacian', 'act', 'high_conv', 'out_proj'):
        setattr(mixer, name, nn.Identity())
    return mixer


class Recorder(nn.Module):
    """Stands for a scan: keeps its input and returns a multiple of it."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.seen = factor, None

    def forward(self, x):
        self.seen = x
        return self.factor * x


def smooth_and_rough():
    """A map that is constant over 4x4 blocks, and one that vanishes when pooled."""
    blocks = torch.randn(1, 4, 3, 2)
    smooth = F.interpolate(blocks, scale_factor=4, mode='nearest')
    rough = torch.ones(12, 8)
    rough[1::2] *= -1
    return blocks, smooth, rough.expand(1, 4, 12, 8)


def test_low_frequencies_enter_the_scan_and_high_ones_pass_by():
    blocks, smooth, rough = smooth_and_rough()
    mixer = bare_mixer(pool_size=4)
    mixer.ss2d = Recorder(0.0)
    high = torch.randn(1, 4, 12, 8)
    out = mixer(torch.cat([smooth + rough, high], 1))
    torch.testing.assert_close(mixer.ss2d.seen, blocks)
    torch.testing.assert_close(out[:, :4], rough)  # the scan gave nothing
    torch.testing.assert_close(out[:, 4:], high)


def test_scanned_part_is_upsampled_bilinearly():
    blocks, smooth, _ = smooth_and_rough()
    mixer = bare_mixer(pool_size=4)
    mixer.ss2d = Recorder(2.0)
    out = mixer(torch.cat([smooth, smooth], 1))
    expected = F.interpolate(2 * blocks, scale_factor=4, mode='bilinear', align_corners=False)
    torch.testing.assert_close(out[:, :4], expected)


def test_high_frequencies_alone():
    _, smooth, rough = smooth_and_rough()
    mixer = bare_mixer(pool_size=4, scan_frequencies='high')
    mixer.ss2d = Recorder(3.0)
    out = mixer(torch.cat([smooth + rough, smooth], 1))
    torch.testing.assert_close(mixer.ss2d.seen, rough)
    torch.testing.assert_close(out[:, :4], smooth + 3 * rough)


def test_all_frequencies_without_decoupling():
    _, smooth, rough = smooth_and_rough()
    mixer = bare_mixer(pool_size=4, scan_frequencies='all')
    mixer.ss2d = Recorder(3.0)
    out = mixer(torch.cat([smooth + rough, smooth], 1))
    torch.testing.assert_close(out[:, :4], 3 * (smooth + rough))


def test_both_in_parallel():
    blocks, smooth, rough = smooth_and_rough()
    mixer = bare_mixer(pool_size=4, scan_frequencies='both')
    mixer.ss2d, mixer.ss2d_high = Recorder(0.0), Recorder(5.0)
    out = mixer(torch.cat([smooth + rough, smooth], 1))
    torch.testing.assert_close(mixer.ss2d.seen, blocks)
    torch.testing.assert_close(out[:, :4], 5 * rough)


@pytest.mark.parametrize('pool_size', [1, 4])
def test_no_scan_at_all(pool_size):
    mixer = bare_mixer(pool_size=pool_size, scan_frequencies='none')
    mixer.high_conv = Recorder(3.0)
    x = torch.randn(1, 8, 12, 8)
    torch.testing.assert_close(mixer(x), torch.cat([x[:, :4], 3 * x[:, 4:]], 1))


def test_papers_residual_goes_through_the_depthwise_convolution():
    _, smooth, rough = smooth_and_rough()
    mixer = bare_mixer(pool_size=4, high_residual='concat')
    mixer.ss2d, mixer.high_conv = Recorder(0.0), Recorder(7.0)
    out = mixer(torch.cat([smooth + rough, smooth], 1))
    assert mixer.high_conv.seen.shape[1] == 8
    torch.testing.assert_close(out, 7 * torch.cat([rough, smooth], 1))


def test_nothing_is_decoupled_where_nothing_is_pooled():
    mixer = bare_mixer(pool_size=1)
    mixer.ss2d = Recorder(2.0)
    x = torch.randn(1, 8, 5, 7)
    out = mixer(x)
    torch.testing.assert_close(out, torch.cat([2 * x[:, :4], x[:, 4:]], 1))


def test_sides_that_are_no_multiple_lose_no_pixel():
    mixer = bare_mixer(pool_size=4)
    mixer.ss2d = Recorder(0.0)
    x = torch.randn(1, 8, 9, 6)
    mixer(x)
    assert mixer.ss2d.seen.shape[-2:] == (3, 2)
    last = x[:, :4, 8:, 4:].mean((2, 3))
    torch.testing.assert_close(mixer.ss2d.seen[..., 2, 1], last)


@pytest.mark.parametrize(('kernel', 'shapes'), [(3, [(3, 3)]), (9, [(9, 1), (1, 9)])])
def test_laplacian_kernels(kernel, shapes):
    mixer = LaplaceMixer(9, laplacian_kernel=kernel)
    convs = [m for m in mixer.laplacian.modules() if isinstance(m, nn.Conv2d) and m.bias is None]
    assert [conv.kernel_size for conv in convs] == shapes
    assert sum(conv.out_channels for conv in convs) == 9
