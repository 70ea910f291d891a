"""Head of mmpretrain with one or two linear layers."""

from typing import Any, Dict, List, Optional, Sequence

import torch.nn.functional as F
from mmengine.registry import MODELS as MMENGINE_MODELS
from torch import Tensor

from ...core import compat
from ...registry import MODELS
from .distillation_classifier import DistillationClassifier

compat.apply()  # mmpretrain imports torchvision

from mmpretrain.models.heads import ClsHead  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402


@MODELS.register_module()
class DistillationHead(DistillationClassifier, ClsHead):
    """:class:`DistillationClassifier` with the losses and predictions of an mmpretrain head.

    Args:
        loss: Loss of the first layer against the labels. ``None`` means cross
            entropy.
        sizes, others: Arguments of :class:`DistillationClassifier`, but that
            ``distillation`` is off unless asked for.
    """

    def __init__(
        self, *sizes: int, distillation: bool = False, loss: Optional[dict] = None, **others: Any
    ) -> None:
        super().__init__(*sizes, distillation=distillation, **others)
        if loss is not None:
            self.loss_module = MMENGINE_MODELS.build(loss)

    def loss(
        self,
        feats: Sequence[Tensor],
        data_samples: List[DataSample],
        teacher_labels: Optional[Tensor] = None,
        alpha: float = 0.5,
    ) -> Dict[str, Tensor]:
        """Losses of a training step.

        Args:
            feats: Outputs of the backbone.
            data_samples: With ``gt_label``, or ``gt_score`` where images are mixed.
            teacher_labels: ``(batch,)``, what the teacher takes each image for.
                Needed if, and only if, there is a second layer.
            alpha: Weight of the second layer's loss; the first has the rest.

        Returns:
            ``loss``, or ``loss_label`` and ``loss_teacher``, which are to be added.
        """
        if self.dist_head is None:
            return self._get_loss(self(feats), data_samples)
        pooled = self.pre_logits(feats)
        by_labels = self._get_loss(self.label_logits(pooled), data_samples)['loss']
        by_teacher = F.cross_entropy(self.teacher_logits(pooled), teacher_labels)
        return {'loss_label': (1 - alpha) * by_labels, 'loss_teacher': alpha * by_teacher}

    def soft_loss(
        self,
        feats: Sequence[Tensor],
        data_samples: List[DataSample],
        teacher_logits: Tensor,
        weight: float,
    ) -> Dict[str, Tensor]:
        """Losses of a training step in which the one layer learns from labels and teacher.

        Args:
            feats, data_samples: As in :meth:`loss`.
            teacher_logits: ``(batch, num_classes)``.
            weight: Of the teacher's loss; that of the labels has 1.

        Returns:
            ``loss_label`` and ``loss_teacher``, which are to be added: the loss against
            the labels, and ``weight`` times the Kullback-Leibler divergence, in nats, of
            the layer's distribution from the teacher's, the mean over the images.
        """
        logits = self(feats)
        by_labels = self._get_loss(logits, data_samples)['loss']
        by_teacher = F.kl_div(
            logits.float().log_softmax(1),
            teacher_logits.float().log_softmax(1),
            reduction='batchmean',
            log_target=True,
        )
        return {'loss_label': by_labels, 'loss_teacher': weight * by_teacher}
