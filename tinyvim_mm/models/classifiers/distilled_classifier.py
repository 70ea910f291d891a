"""Classifier of mmpretrain that can learn from a teacher."""

from typing import Dict, List, Mapping, Optional

from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor

from ...checkpoint import extract_state_dict, translate_key
from ..heads.distillation_classifier import RELEASED_PARTS
from ..reparameterize import Deployable
from .teacher import Teacher


class DistilledClassifier(Deployable, ImageClassifier):
    """mmpretrain's ImageClassifier with hard distillation and released weights.

    Hard distillation (Touvron et al., "Training data-efficient image
    transformers & distillation through attention", 2021): the head's second
    layer learns the class that a teacher gives to each image as the student
    sees it, mixed and cropped. The loss is ``(1 - alpha)`` times that of the
    first layer against the labels, plus ``alpha`` times the cross entropy of
    the second against the teacher's classes.

    A checkpoint in the released layout loads wherever a state dict does, be it
    bare or under ``'model'``.

    The deployed form has no teacher.

    Args:
        backbone: Config of a backbone with raw outputs (``normalize_outputs=False``).
        head: Config of a :class:`DistillationHead`; it has a second layer if
            there is ``distillation``.
        distillation: ``dict(type='hard', alpha=0.5, teacher=..., checkpoint=...)``,
            see :class:`~tinyvim_mm.models.classifiers.teacher.Teacher`, or
            ``None`` to train on the labels alone. The teacher is loaded when the
            training begins.
        kwargs: Arguments of mmpretrain's ImageClassifier (``neck``,
            ``train_cfg``, ``data_preprocessor``, ``init_cfg``, ``pretrained``).

    Raises:
        ValueError: ``distillation`` is not as above; the message says where.
    """

    def __init__(
        self, backbone: dict, head: dict, distillation: Optional[dict] = None, **kwargs
    ) -> None:
        settings = _read_distillation(distillation)
        super().__init__(backbone, head={**head, 'distillation': settings is not None}, **kwargs)
        self.teacher: Optional[Teacher] = None
        if settings is not None:
            self.alpha = settings['alpha']
            self.teacher = Teacher(settings['teacher'], settings.get('checkpoint'))

    def init_weights(self) -> None:
        """Initialise, and load the teacher.

        mmengine calls it at the start of a training, so that a teacher without
        weights is an error before the first step.

        Raises:
            MissingPackageError: See :meth:`Teacher.load`.
            CheckpointError: See :meth:`Teacher.load`.
        """
        if self.teacher is not None:
            self.teacher.load()
        super().init_weights()

    def loss(self, inputs: Tensor, data_samples: List[DataSample]) -> Dict[str, Tensor]:
        """Losses of a training step.

        Args:
            inputs: ``(batch, channels, H, W)``, normalised and mixed.
            data_samples: Their labels.

        Returns:
            See :meth:`DistillationHead.loss`.
        """
        if self.teacher is None:
            return super().loss(inputs, data_samples)
        labels = self.teacher.label(inputs, self, self.head.head.out_features)
        return self.head.loss(self.extract_feat(inputs), data_samples, labels, self.alpha)

    def fuse_parts(self) -> None:
        """Fold backbone and head, and let the teacher go."""
        for part in (self.backbone, self.head):
            if isinstance(part, Deployable):
                part.switch_to_deploy()
        self.teacher = None

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        wrapped = state_dict.get(f'{prefix}model')
        if isinstance(wrapped, Mapping):
            # mmengine unwraps 'state_dict' only; the release wraps in 'model'.
            wrapped = extract_state_dict(wrapped, 'the checkpoint')
            state_dict.clear()
            state_dict.update({prefix + key: value for key, value in wrapped.items()})
        rules = getattr(self.backbone, 'released_key_rules', ())
        if rules and any(key.startswith(f'{prefix}patch_embed.') for key in state_dict):
            for key in [key for key in state_dict if key.startswith(prefix)]:
                released = key[len(prefix) :]
                part = 'head.' if released.split('.')[0] in RELEASED_PARTS else 'backbone.'
                own = prefix + part + translate_key(released, rules if part != 'head.' else ())
                state_dict[own] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _read_distillation(distillation: Optional[dict]) -> Optional[dict]:
    if distillation is None:
        return None
    settings = dict(distillation)
    unknown = set(settings) - {'type', 'alpha', 'teacher', 'checkpoint'}
    if unknown or 'teacher' not in settings:
        raise ValueError(
            "distillation takes 'type', 'alpha', 'teacher' (needed) and 'checkpoint', "
            f'got {", ".join(map(repr, distillation))}'
        )
    if settings.setdefault('type', 'hard') != 'hard':
        raise ValueError(f"distillation.type must be 'hard', got {settings['type']!r}")
    if not 0 < settings.setdefault('alpha', 0.5) <= 1:
        raise ValueError(f'distillation.alpha must be in (0, 1], got {settings["alpha"]!r}')
    return settings
