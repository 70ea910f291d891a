"""Attention: deformable over several scales, and the masks of point-wise spatial attention."""

import torch

from .precision import widened

__all__ = ['ms_deform_attn_backward', 'ms_deform_attn_forward', 'psamask_backward']
__all__ += ['psamask_forward']


def ms_deform_attn_forward(
    value: torch.Tensor,
    value_spatial_shapes: torch.Tensor,
    value_level_start_index: torch.Tensor,
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
    im2col_step: int,
) -> torch.Tensor:
    """Sample each level and add up, in mmcv's own PyTorch form.

    Args:
        value: (B, keys, heads, channels), all levels one after the other.
        value_spatial_shapes: (levels, 2), height and width of each.
        value_level_start_index: Unused, as is ``im2col_step``.
        sampling_locations: (B, queries, heads, levels, points, 2), ``x, y`` in [0, 1].
        attention_weights: (B, queries, heads, levels, points)

    Returns:
        (B, queries, heads * channels)
    """
    # Only when it is used: this module is loaded while mmcv.ops is imported.
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    tensors = map(widened, (sampling_locations, attention_weights))
    shapes = value_spatial_shapes.tolist()  # one wait for the GPU, not one per level
    result = multi_scale_deformable_attn_pytorch(widened(value), shapes, *tensors)
    return result.to(value.dtype)


def ms_deform_attn_backward(
    value: torch.Tensor,
    value_spatial_shapes: torch.Tensor,
    value_level_start_index: torch.Tensor,
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
    grad_output: torch.Tensor,
    grad_value: torch.Tensor,
    grad_sampling_loc: torch.Tensor,
    grad_attn_weight: torch.Tensor,
    im2col_step: int,
) -> None:
    """Gradients of :func:`ms_deform_attn_forward`, by computing that again."""
    given = (value, sampling_locations, attention_weights)
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in given]
        shapes = (value_spatial_shapes, value_level_start_index)
        output = ms_deform_attn_forward(leaves[0], *shapes, *leaves[1:], im2col_step)
        gradients = torch.autograd.grad(output, leaves, grad_output.view_as(output))
    targets = (grad_value, grad_sampling_loc, grad_attn_weight)
    for target, gradient in zip(targets, gradients, strict=True):
        target.copy_(gradient)


def psamask_forward(
    input: torch.Tensor,
    output: torch.Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Lay the mask of each position, (B, h_mask * w_mask, H, W), over the whole picture.

    ``output`` is (B, H * W, H, W); collecting (``psa_type`` 0) the channel is the position that
    is looked at and the pixel the one that looks, distributing (1) the other way round.
    """
    channel, inside = _psa_channels(
        input, h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask
    )
    flat = input.flatten(2)
    spread = flat.gather(1, channel.expand(num_, -1, -1)) * inside
    output.copy_((spread if psa_type == 0 else spread.transpose(1, 2)).reshape(output.shape))


def psamask_backward(
    grad_output: torch.Tensor,
    grad_input: torch.Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Gradient of :func:`psamask_forward` into ``grad_input``, (B, h_mask * w_mask, H, W)."""
    channel, inside = _psa_channels(
        grad_input, h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask
    )
    spread = grad_output.flatten(2)
    spread = (spread if psa_type == 0 else spread.transpose(1, 2)) * inside
    flat = torch.zeros_like(grad_input).flatten(2)
    flat.scatter_add_(1, channel.expand(num_, -1, -1), spread)
    grad_input.copy_(flat.view_as(grad_input))


def _psa_channels(like: torch.Tensor, h: int, w: int, mh: int, mw: int, half_h: int, half_w: int):
    """Channel of the mask for (seen, seeing) positions, (1, H * W, H * W), and where it has one."""
    y = torch.arange(h, device=like.device).repeat_interleave(w)
    x = torch.arange(w, device=like.device).repeat(h)
    row = y[:, None] - y[None] + half_h
    column = x[:, None] - x[None] + half_w
    inside = (row >= 0) & (row < mh) & (column >= 0) & (column < mw)
    return torch.where(inside, row * mw + column, 0)[None], inside.to(like.dtype)
