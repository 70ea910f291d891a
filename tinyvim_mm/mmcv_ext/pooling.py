"""Features of regions of interest, in a grid of fixed size.

Regions are (N, 5): index of the image, then ``x1, y1, x2, y2`` in pixels of the input image.
"""

import torch
from torchvision.ops import roi_align as torchvision_roi_align

from .precision import widened

__all__ = ['roi_align_backward', 'roi_align_forward', 'roi_pool_backward', 'roi_pool_forward']

_AVERAGE = 1  # the other pool_mode, 0, takes the largest sample


def roi_align_forward(
    input: torch.Tensor,
    rois: torch.Tensor,
    output: torch.Tensor,
    argmax_y: torch.Tensor,
    argmax_x: torch.Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign of (B, C, H, W) with averaged samples into ``output``, (N, C, height, width)."""
    _only_averages(pool_mode)
    size = (aligned_height, aligned_width)
    pooled = torchvision_roi_align(
        widened(input), widened(rois), size, spatial_scale, sampling_ratio, aligned
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: torch.Tensor,
    rois: torch.Tensor,
    argmax_y: torch.Tensor,
    argmax_x: torch.Tensor,
    grad_input: torch.Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward` into ``grad_input``, (B, C, H, W)."""
    _only_averages(pool_mode)
    gradient = torch.ops.torchvision._roi_align_backward(
        widened(grad_output),
        widened(rois),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(gradient)


def _only_averages(pool_mode: int) -> None:
    if pool_mode != _AVERAGE:
        from ..core.mmcv_operators import compile_command

        raise NotImplementedError(
            "RoIAlign with pool_mode='max' needs mmcv's compiled operators; on torchvision there "
            f"is pool_mode='avg'.\ncure: {compile_command()}"
        )


def roi_pool_forward(
    input: torch.Tensor,
    rois: torch.Tensor,
    output: torch.Tensor,
    argmax: torch.Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """The largest value of each bin of (B, C, H, W) into ``output``, (N, C, height, width).

    Not torchvision's operator, which rounds the corners of the regions; mmcv does not.
    ``argmax`` becomes the place in ``H * W``, or -1 for an empty bin.
    """
    height, width = input.shape[2:]
    output.zero_()
    argmax.fill_(-1)
    scaled = widened(rois)[:, 1:] * spatial_scale
    scaled[:, 2:] += spatial_scale
    rows = _bins(scaled[:, 1], scaled[:, 3], pooled_height, height)
    columns = _bins(scaled[:, 0], scaled[:, 2], pooled_width, width)
    for n, image in enumerate(rois[:, 0].long().tolist()):
        features = input[image]
        for i, (top, bottom) in enumerate(rows[n]):
            if bottom <= top:
                continue
            largest, row = features[:, top:bottom].max(dim=1)
            for j, (left, right) in enumerate(columns[n]):
                if right <= left:
                    continue
                value, column = largest[:, left:right].max(dim=1)
                column = column + left
                row_of = row.gather(1, column[:, None])[:, 0] + top
                output[n, :, i, j] = value
                argmax[n, :, i, j] = (row_of * width + column).to(argmax.dtype)


def _bins(start: torch.Tensor, end: torch.Tensor, count: int, limit: int) -> list:
    """First and last place of each bin of each region; nothing for a region without extent."""
    size = (end - start)[:, None]
    edges = torch.arange(count, device=start.device) * (size / count) + start[:, None]
    ends = torch.arange(1, count + 1, device=start.device) * (size / count) + start[:, None]
    places = torch.stack([edges.floor(), ends.ceil()], -1).clamp(0, limit)
    return torch.where(size[..., None] > 0, places, 0).int().tolist()


def roi_pool_backward(
    grad_output: torch.Tensor,
    rois: torch.Tensor,
    argmax: torch.Tensor,
    grad_input: torch.Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Gradient of :func:`roi_pool_forward` into ``grad_input``, (B, C, H, W)."""
    channels, height, width = grad_input.shape[1:]
    planes = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    places = planes[..., None, None] * (height * width) + argmax
    used = argmax >= 0
    flat = torch.zeros_like(grad_input).view(-1)
    flat.index_add_(0, places[used], grad_output[used].to(flat.dtype))
    grad_input.copy_(flat.view_as(grad_input))
