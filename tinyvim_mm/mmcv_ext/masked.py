"""Convolution at chosen positions only, which guided anchors use at test time."""

import torch
from torch.nn import functional as F

__all__ = ['masked_col2im_forward', 'masked_im2col_forward']


def masked_im2col_forward(
    im: torch.Tensor,
    mask_h_idx: torch.Tensor,
    mask_w_idx: torch.Tensor,
    col: torch.Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """The windows of (1, C, H, W) at M positions into ``col``, (C * kernel_h * kernel_w, M)."""
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    y = mask_h_idx[:, None, None] + torch.arange(kernel_h, device=im.device)[:, None]
    x = mask_w_idx[:, None, None] + torch.arange(kernel_w, device=im.device)
    col.copy_(padded[:, y, x].permute(0, 2, 3, 1).reshape(col.shape))


def masked_col2im_forward(
    col: torch.Tensor,
    mask_h_idx: torch.Tensor,
    mask_w_idx: torch.Tensor,
    im: torch.Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Put (C, M) at M positions of ``im``, (1, C, H, W)."""
    im[0, :, mask_h_idx, mask_w_idx] = col
