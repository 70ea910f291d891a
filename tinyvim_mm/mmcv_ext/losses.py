"""Focal losses, as mmcv's CUDA kernels compute them; here on CPUs, too."""

from typing import Tuple

import torch

from .precision import widened

__all__ = [
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
]

_TINY = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    output: torch.Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Loss of each logit into ``output``, (N, C).

    Args:
        input: (N, C), logits.
        target: (N,), int64, the class; C for the background.
        weight: (C,), factors of the classes of the targets, or empty.
        output: (N, C)
        gamma: Exponent that lowers the loss of what is right already.
        alpha: Share of the positive logits.
    """
    positive, p, q = _probabilities(input, target)
    loss = torch.where(
        positive,
        -alpha * q.pow(gamma) * p.clamp(min=_TINY).log(),
        -(1 - alpha) * p.pow(gamma) * q.clamp(min=_TINY).log(),
    )
    output.copy_(loss * _weights(weight, target)[:, None])


def sigmoid_focal_loss_backward(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    grad_input: torch.Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of each loss of :func:`sigmoid_focal_loss_forward` by its logit, (N, C)."""
    positive, p, q = _probabilities(input, target)
    gradient = torch.where(
        positive,
        -alpha * q.pow(gamma) * (q - gamma * p * p.clamp(min=_TINY).log()),
        -(1 - alpha) * p.pow(gamma) * (gamma * q * q.clamp(min=_TINY).log() - p),
    )
    grad_input.copy_(gradient * _weights(weight, target)[:, None])


def softmax_focal_loss_forward(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    output: torch.Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Loss of each row into ``output``, (N,); ``input`` is the softmax, (N, C).

    A negative target has no loss; the others as in :func:`sigmoid_focal_loss_forward`.
    """
    p = _of_target(input, target)
    loss = -alpha * (1 - p).pow(gamma) * p.clamp(min=_TINY).log()
    output.copy_(loss * (target >= 0) * _weights(weight, target))


def softmax_focal_loss_backward(
    softmax: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    buff: torch.Tensor,
    grad_input: torch.Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of each loss of :func:`softmax_focal_loss_forward` by the logits, (N, C)."""
    p = _of_target(softmax, target)
    log = p.clamp(min=_TINY).log()
    rise = (1 - p).pow(gamma)
    slope = alpha * (gamma * (1 - p).pow(gamma - 1) * p * log - rise)
    slope = slope * (target >= 0) * _weights(weight, target)
    buff.copy_(slope)
    classes = torch.arange(softmax.shape[1], device=softmax.device)
    hit = (target[:, None] == classes).to(slope.dtype)
    grad_input.copy_(slope[:, None] * (hit - widened(softmax)))


def _probabilities(
    input: torch.Tensor, target: torch.Tensor
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where a logit is of its row's class, the probability, and one minus that: each (N, C)."""
    classes = torch.arange(input.shape[1], device=input.device)
    p = widened(input).sigmoid()
    return target[:, None] == classes, p, 1 - p


def _of_target(softmax: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return widened(softmax).gather(1, target.clamp(min=0)[:, None])[:, 0]


def _weights(weight: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Factor of each row, (N,); mmcv has none for the background, which counts once."""
    if not weight.numel():
        return torch.ones_like(target, dtype=torch.float32)
    one = weight.new_ones(1)
    known = (target >= 0) & (target < len(weight))
    return widened(torch.cat([weight, one]))[torch.where(known, target, len(weight))]
