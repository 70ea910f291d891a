"""Classifier of TinyViM with a second linear layer for distillation."""

from typing import Iterable, Optional, Sequence, Tuple, Union

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import build_batch_norm
from ..layers.fuse import double, norm_as_affine
from ..reparameterize import Deployable

#: Parts of a :class:`DistillationClassifier`, at the top of released weights under these names.
RELEASED_PARTS = ('norm', 'head', 'dist_head')


@MODELS.register_module()
class DistillationClassifier(Deployable, BaseModule):
    """Batch normalisation, global average pooling and one or two linear layers.

    Takes the raw output of the last stage, that is of a backbone built with
    ``normalize_outputs=False``. The deployed form pools and has one linear layer,
    the mean of both with the normalisation in it.

    Args:
        in_channels: Channels of the last stage.
        num_classes: Classes.
        distillation: Whether there is a second linear layer that learns from a
            teacher.
        norm_cfg: See :func:`tinyvim_mm.models.layers.build_batch_norm`.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int = 1000,
        distillation: bool = True,
        norm_cfg: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.norm = build_batch_norm(norm_cfg, in_channels)
        self.head = nn.Linear(in_channels, num_classes)
        self.dist_head = nn.Linear(in_channels, num_classes) if distillation else None
        for linear in (self.head, self.dist_head):
            if linear is not None:
                nn.init.trunc_normal_(linear.weight, std=0.02)
                nn.init.zeros_(linear.bias)

    def pre_logits(self, feats: Union[Tensor, Sequence[Tensor]]) -> Tensor:
        """Normalise, unless deployed, and pool.

        Args:
            feats: ``(batch, in_channels, H, W)``, or a backbone's outputs, of
                which the last is taken.

        Returns:
            ``(batch, in_channels)``.
        """
        x = feats if isinstance(feats, Tensor) else feats[-1]
        return self.norm(x).mean((2, 3))

    def forward(
        self, feats: Union[Tensor, Sequence[Tensor]]
    ) -> Union[Tensor, Tuple[Tensor, Tensor]]:
        """Classify.

        Args:
            feats: See :meth:`pre_logits`.

        Returns:
            Logits ``(batch, num_classes)``. With distillation, training gives
            both layers' logits and inference their mean.
        """
        pooled = self.pre_logits(feats)
        logits = self.head(pooled)
        if self.dist_head is None:
            return logits
        distilled = self.dist_head(pooled)
        return (logits, distilled) if self.training else (logits + distilled) / 2

    def fuse_parts(self) -> None:
        """Fold the norm and both linear layers into one."""
        scale, shift = norm_as_affine(self.norm)
        linears = [linear for linear in (self.head, self.dist_head) if linear is not None]
        weight = sum(double(linear.weight) for linear in linears) / len(linears)
        bias = sum(double(linear.bias) for linear in linears) / len(linears)
        fused = nn.Linear(self.head.in_features, self.head.out_features, device='meta')
        fused.weight = nn.Parameter((weight * scale).to(self.head.weight))
        fused.bias = nn.Parameter((bias + weight @ shift).to(self.head.bias))
        self.norm, self.head, self.dist_head = nn.Identity(), fused, None

    def is_deployed_form(self, keys: Iterable[str]) -> Optional[bool]:
        parts = {key.split('.')[0] for key in keys}
        return not parts & {'norm', 'dist_head'} if 'head' in parts else None
